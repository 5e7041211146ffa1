//! How are files opened and read, with a limit on everything and an error that names the file?

use std::fs::{self, File};
use std::io::{self, BufRead, Read};
use std::path::Path;

use crate::args;

/// A file, or standard input for `-`. A directory is refused here, not at the first read.
pub(crate) fn open(path: &Path) -> Result<Box<dyn Read + Send>, String> {
    if args::is_stdin(path.as_os_str()) {
        return Ok(Box::new(io::stdin()));
    }
    let open = || {
        if fs::metadata(path)?.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        File::open(path)
    };
    match open() {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// Why a file cannot be read, and what to do.
pub(crate) fn unreadable(path: &Path, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file; check the name",
        io::ErrorKind::IsADirectory => "it is a directory; name the files in it",
        io::ErrorKind::PermissionDenied => "reading it is not permitted; check its permissions",
        _ => return format!("cannot read {}: {error}", path.display()),
    };
    format!("cannot read {}: {advice}", path.display())
}

/// All of a file, when it is not larger than `max` bytes.
pub(crate) fn read(path: &Path, max: usize) -> Result<Vec<u8>, String> {
    let bytes = read_to(path, max + 1)?;
    if bytes.len() > max {
        let mib = max / (1024 * 1024);
        return Err(format!(
            "cannot read {}: it is larger than {mib} MiB; give a smaller one",
            path.display()
        ));
    }
    Ok(bytes)
}

/// The first `max` bytes of a file.
pub(crate) fn read_to(path: &Path, max: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX);
    match open(path)?.take(limit).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// Reads the next line into `line`, without its end, and of a longer one only the first `max`
/// bytes; the rest is passed over. `false` at the end of the input.
pub(crate) fn next_line(
    input: &mut impl BufRead,
    line: &mut Vec<u8>,
    max: usize,
) -> io::Result<bool> {
    line.clear();
    let mut begun = false;
    loop {
        let buffer = match input.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if buffer.is_empty() {
            return Ok(begun);
        }
        begun = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        line.extend_from_slice(&part[..part.len().min(max - line.len())]);
        let consumed = part.len() + usize::from(end.is_some());
        input.consume(consumed);
        if end.is_some() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8], buffer: usize, max: usize) -> Vec<String> {
        let mut input = io::BufReader::with_capacity(buffer, text);
        let (mut lines, mut line) = (Vec::new(), Vec::new());
        while next_line(&mut input, &mut line, max).unwrap() {
            assert!(line.len() <= max);
            lines.push(String::from_utf8_lossy(&line).into_owned());
        }
        lines
    }

    #[test]
    fn lines_are_cut_at_the_limit_and_nowhere_else() {
        for buffer in [1, 2, 3, 64] {
            assert_eq!(lines(b"", buffer, 5), [""; 0]);
            assert_eq!(lines(b"\n", buffer, 5), [""]);
            assert_eq!(lines(b"a\r\n\nbc", buffer, 5), ["a\r", "", "bc"]);
            assert_eq!(
                lines(b"12345\n123456\n1234567890\nx", buffer, 5),
                ["12345", "12345", "12345", "x"]
            );
        }
    }
}
