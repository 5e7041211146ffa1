//! How many of these lines were written, exactly, and does anybody read them?
//!
//! What is acknowledged depends on it, so nothing is buffered behind our back.

use std::io::{self, Write};

use crate::exit::Stop;

/// Standard output, and lines on their way to it.
pub(crate) struct Lines {
    out: Box<dyn Write>,
    text: Vec<u8>,
    /// Where each item ends in `text`.
    ends: Vec<usize>,
}

/// Not all items were written: how many were, and what went wrong.
pub(crate) type Cut = (usize, Stop);

impl Lines {
    pub(crate) fn to_stdout() -> Result<Self, Stop> {
        let out = unbuffered_stdout().map_err(|error| Stop::at_output(&error))?;
        Ok(Self::to(out))
    }

    fn to(out: Box<dyn Write>) -> Self {
        Self {
            out,
            text: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Adds an item, which `write` appends with the newline that ends it.
    pub(crate) fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.text);
        self.ends.push(self.text.len());
    }

    /// Writes the items that were added, and forgets them.
    pub(crate) fn write(&mut self) -> Result<(), Cut> {
        let mut written = 0;
        let mut result = Ok(());
        while written < self.text.len() {
            match self.out.write(&self.text[written..]) {
                Ok(0) => result = Err(io::Error::from(io::ErrorKind::WriteZero)),
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => result = Err(error),
            }
            if result.is_err() {
                break;
            }
        }
        let result = result.and_then(|()| self.out.flush());
        let whole = self.ends.iter().take_while(|end| **end <= written).count();
        self.text.clear();
        self.text.shrink_to(1024 * 1024);
        self.ends.clear();
        result.map_err(|error| (whole, Stop::at_output(&error)))
    }
}

#[cfg(unix)]
fn unbuffered_stdout() -> io::Result<Box<dyn Write>> {
    use std::os::fd::AsFd;
    let own = io::stdout().as_fd().try_clone_to_owned()?;
    Ok(Box::new(std::fs::File::from(own)))
}

#[cfg(not(unix))]
fn unbuffered_stdout() -> io::Result<Box<dyn Write>> {
    Ok(Box::new(io::stdout()))
}

/// Waits until nobody can read standard output any more: the other end of the pipe is closed. Where
/// that cannot be known, for ever. Safe to drop.
pub(crate) async fn reader_gone() {
    let (tell, told) = tokio::sync::oneshot::channel();
    // Waiting takes a thread, which ends with the process.
    std::thread::spawn(move || {
        if wait_until_unread() {
            let _ = tell.send(());
        }
    });
    if told.await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(unix)]
fn wait_until_unread() -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    let stdout = io::stdout();
    loop {
        // Nothing is asked for; that the other end is closed is told unasked.
        let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
            Ok(_) => return fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP),
        }
    }
}

#[cfg(not(unix))]
fn wait_until_unread() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, three at a time, and then fails.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let taken = bytes.len().min(self.0).min(3);
            self.0 -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_was_written_is_counted_in_whole_lines() {
        for (room, whole) in [(0, 0), (3, 0), (4, 1), (5, 1), (8, 2), (11, 2)] {
            let mut lines = Lines::to(Box::new(Full(room)));
            for _ in 0..3 {
                lines.add(|text| text.extend_from_slice(b"abc\n"));
            }
            let (count, stop) = lines.write().unwrap_err();
            assert!(matches!(stop, Stop::ClosedPipe));
            assert_eq!(count, whole, "{room}");
            assert!(lines.write().is_ok());
        }
        let mut lines = Lines::to(Box::new(Full(12)));
        lines.add(|text| text.extend_from_slice(b"123456789012"));
        assert!(lines.write().is_ok());
    }
}
