//! Where is a Python that has the packages of `requirements.txt`?

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A virtual environment with everything installed.
#[derive(Clone)]
pub(crate) struct Venv {
    python: PathBuf,
}

impl Venv {
    /// The environment under the build folder, made when it is not there. Its name holds a hash of
    /// the requirements and of Python's version, so it is made anew when those change.
    ///
    /// An error says what to install.
    pub(crate) fn ready() -> Result<Self, String> {
        let requirements = scripts().join("requirements.txt");
        let wanted = fs::read(&requirements).map_err(|error| error.to_string())?;
        let version = run(Command::new("python3").arg("--version"))
            .map_err(|why| format!("install python3 ({why})"))?;
        let mut hasher = DefaultHasher::new();
        (wanted, version.stdout).hash(&mut hasher);
        let name = format!("python-{:016x}", hasher.finish());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        if !folder.exists() {
            make(&folder, &requirements)?;
        }
        Ok(Self {
            python: python_in(&folder),
        })
    }

    /// A command that runs one of the scripts beside `requirements.txt`.
    pub(crate) fn script(&self, name: &str) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(scripts().join(name));
        // The source tree stays as it is.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

/// Makes the environment beside its place and moves it there when it is complete, so that neither
/// a test run that was stopped nor another one at the same time leaves half of one.
fn make(folder: &Path, requirements: &Path) -> Result<(), String> {
    let unfinished = folder.with_extension(std::process::id().to_string());
    let made = run(Command::new("python3")
        .args(["-m", "venv"])
        .arg(&unfinished))
    .map_err(|why| format!("install python3's venv, on Debian python3-venv ({why})"))
    .and_then(|_| {
        let mut pip = Command::new(python_in(&unfinished));
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
        ]);
        run(pip.arg(requirements))
            .map_err(|why| format!("pip cannot install requirements.txt ({why})"))
    })
    .and_then(|_| match fs::rename(&unfinished, folder) {
        Err(error) if !folder.exists() => Err(error.to_string()),
        _ => Ok(()),
    });
    // Gone already when all went well.
    let _ = fs::remove_dir_all(&unfinished);
    made
}

/// Runs to the end; an error is the last line that the program said.
pub(crate) fn run(command: &mut Command) -> Result<Output, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(output);
    }
    let said = [&output.stderr[..], &output.stdout[..]].concat();
    let said = String::from_utf8_lossy(&said);
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    Err(last.unwrap_or("it failed and said nothing").to_owned())
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python")
}

fn python_in(venv: &Path) -> PathBuf {
    if cfg!(windows) {
        venv.join("Scripts").join("python.exe")
    } else {
        venv.join("bin").join("python")
    }
}
