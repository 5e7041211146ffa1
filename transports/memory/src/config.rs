//! What does a `memory:` URL ask for?

use std::net::IpAddr;
use std::num::NonZeroUsize;

use potluck_core::Result;
use potluck_core::url::{BrokerUrl, Options};

use crate::broker::Bounds;
use crate::error;

/// A URL that was read.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The name of the process's broker; a private one when there is none.
    pub(crate) name: Option<String>,
    max_messages: Option<NonZeroUsize>,
    max_bytes: Option<NonZeroUsize>,
}

impl Config {
    /// Reads a URL and refuses what has no meaning here.
    pub(crate) fn read(url: &str) -> Result<Self> {
        let url = BrokerUrl::parse(url)?;
        if url.scheme != "memory" {
            return Err(error::config(
                "this transport's URLs begin memory:, such as memory: or memory://NAME",
            ));
        }
        if url.user.is_some() || url.password.is_some() {
            return Err(error::config(
                "a memory broker has no users; leave out what precedes the @",
            ));
        }
        if !url.path.is_empty() {
            return Err(error::config(
                "a memory broker has no path; write memory: or memory://NAME",
            ));
        }
        let mut options = url.options();
        let config = Self {
            name: name(&url.hosts)?,
            max_messages: bound(&mut options, "max_messages")?,
            max_bytes: bound(&mut options, "max_bytes")?,
        };
        options.finish()?;
        Ok(config)
    }

    /// The bounds of a broker made for this URL.
    pub(crate) fn bounds(&self) -> Bounds {
        let default = Bounds::default();
        default
            .max_messages(self.max_messages.unwrap_or(default.max_messages))
            .max_bytes(self.max_bytes.unwrap_or(default.max_bytes))
    }

    /// Whether the bounds that the URL gives, if it gives any, are these.
    pub(crate) fn agrees(&self, bounds: Bounds) -> bool {
        self.max_messages.is_none_or(|n| n == bounds.max_messages)
            && self.max_bytes.is_none_or(|n| n == bounds.max_bytes)
    }
}

fn name(hosts: &[(String, Option<u16>)]) -> Result<Option<String>> {
    let rule = "memory://NAME has one name without a port, and no address";
    match hosts {
        [] => Ok(None),
        // The reader of URLs takes numbers for addresses, so that 1 and 0.0.0.1 are one name.
        [(name, None)] if name.parse::<IpAddr>().is_err() && !name.starts_with('[') => {
            Ok(Some(name.clone()))
        }
        _ => Err(error::config(rule)),
    }
}

fn bound(options: &mut Options, name: &'static str) -> Result<Option<NonZeroUsize>> {
    let Some(number) = options.number(name)? else {
        return Ok(None);
    };
    let number = usize::try_from(number).ok().and_then(NonZeroUsize::new);
    let rule = || error::config("a bound is 1 or more").with("option", name);
    number.ok_or_else(rule).map(Some)
}

#[cfg(test)]
mod tests {
    use potluck_core::ErrorKind;

    use super::*;

    #[test]
    fn reads_names_and_bounds() {
        for private in ["memory:", "memory://", "MEMORY:?max_messages=5"] {
            assert_eq!(Config::read(private).unwrap().name, None);
        }
        let config = Config::read("memory://Tests-1?max_messages=5&max_bytes=70000").unwrap();
        assert_eq!(config.name.as_deref(), Some("tests-1"));
        let bounds = config.bounds();
        assert_eq!(bounds.max_messages.get(), 5);
        assert_eq!(bounds.max_bytes.get(), 70_000);
        assert!(config.agrees(bounds) && !config.agrees(Bounds::default()));
        let defaults = Config::read("memory://tests").unwrap();
        assert_eq!(defaults.bounds(), Bounds::default());
        assert!(defaults.agrees(bounds));
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        for url in [
            "redis://localhost",
            "memory",
            "memory://user@name",
            "memory://:canary@name",
            "memory://name:80",
            "memory://one,two",
            "memory://1",
            "memory://127.0.0.1",
            "memory://[::1]",
            "memory://name/path",
            "memory:///path",
            "memory:?max_messages=0",
            "memory:?max_messages=-1",
            "memory:?max_bytes=99999999999999999999",
            "memory:?max_byte=1",
            "memory:?lease=1s",
        ] {
            let error = Config::read(url).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::Config, "{url}");
            assert!(!error.to_string().contains("canary"));
        }
    }
}
