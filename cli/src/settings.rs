//! What do the environment and a file of settings say, for a service?

use std::collections::BTreeMap;
use std::env;
use std::path::Path;

use crate::exit::{Exit, Stop};
use crate::files;

/// The file that is read when none is named, if it is there.
const FILE_DEFAULT: &str = ".env";
/// The largest file that is read.
const FILE_MAX: usize = 64 * 1024;

/// The settings that are not on the command line. What is set to nothing counts as unset.
#[derive(Debug)]
pub(crate) struct Settings {
    file: String,
    values: BTreeMap<String, String>,
}

impl Settings {
    /// Reads the file that is named, or `.env` if there is one.
    pub(crate) fn read(file: Option<&Path>) -> Result<Self, Stop> {
        let path = file.unwrap_or_else(|| Path::new(FILE_DEFAULT));
        let mut settings = Self {
            file: path.display().to_string(),
            values: BTreeMap::new(),
        };
        // A folder of that name is a virtual environment of Python's.
        if file.is_none() && !path.is_file() {
            return Ok(settings);
        }
        let bad = |text| Stop::failed(Exit::BadConfig, text);
        let text = files::read(path, FILE_MAX).map_err(bad)?;
        let mut last = String::new();
        for pair in dotenvy::from_read_iter(&text[..]) {
            // The error has the line in it, and the line may have a password in it.
            let (name, value) = pair.map_err(|_| {
                let place = match last.as_str() {
                    "" => "before any setting".to_owned(),
                    name => format!("after {name}"),
                };
                let file = &settings.file;
                bad(format!(
                    "{file} has a line {place} that is not NAME=VALUE; quote values with spaces"
                ))
            })?;
            last.clone_from(&name);
            settings.values.insert(name, value);
        }
        Ok(settings)
    }

    /// The value of a setting in the file, and where it is from.
    pub(crate) fn in_file(&self, name: &str) -> Option<(&str, String)> {
        let value = self.values.get(name).filter(|value| !value.is_empty())?;
        Some((value, format!("{name}, in {}", self.file)))
    }

    /// What is set: on the command line, else in the environment, else in the file.
    ///
    /// # Errors
    ///
    /// When a value breaks the rule that `parse` says. The value is not in the error.
    pub(crate) fn get<T>(
        &self,
        on_command_line: Option<T>,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Stop> {
        if on_command_line.is_some() {
            return Ok(on_command_line);
        }
        let bad = |from: &str, rule: &str| {
            Stop::failed(Exit::BadConfig, format!("bad value of {from}: {rule}"))
        };
        match env::var(name) {
            Ok(value) if !value.is_empty() => {
                return parse(&value).map(Some).map_err(|rule| bad(name, &rule));
            }
            Err(env::VarError::NotUnicode(_)) => return Err(bad(name, "it is not UTF-8")),
            Ok(_) | Err(env::VarError::NotPresent) => {}
        }
        let Some((value, from)) = self.in_file(name) else {
            return Ok(None);
        };
        parse(value).map(Some).map_err(|rule| bad(&from, &rule))
    }
}
