//! How a broker's URL is read: hosts, credentials that never show, and options that must exist.
//!
//! One reader for all transports, so that `?lease=30s` means the same everywhere and a misspelt
//! option is an error instead of a default.

use std::fmt;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// A text that `Debug` and `Display` mask.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the client crate and nothing else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A broker's URL: `scheme://[user[:password]@]host[:port][,host[:port]…][/path][?options]`.
///
/// Its `Display` and `Debug` mask the password and show no option's value.
///
/// ```
/// use potluck_core::url::BrokerUrl;
///
/// let url = BrokerUrl::parse("redis://app:s3cret@localhost:6380/2?lease=30s")?;
/// assert_eq!(url.to_string(), "redis://app:***@localhost:6380/2");
/// let mut options = url.options();
/// assert_eq!(options.duration("lease")?.map(|d| d.as_secs()), Some(30));
/// options.finish()?;
/// # Ok::<(), potluck_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    /// The scheme, in lower case.
    pub scheme: String,
    /// The user, percent-decoded.
    pub user: Option<String>,
    /// The password, percent-decoded.
    pub password: Option<Secret>,
    /// Hosts with their ports; none in `memory:`.
    pub hosts: Vec<(String, Option<u16>)>,
    /// What follows the first `/` behind the hosts, percent-decoded.
    pub path: String,
    query: Vec<(String, String)>,
}

impl BrokerUrl {
    /// The scheme of a URL, for whoever picks a transport by it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when there is none.
    pub fn scheme_of(text: &str) -> Result<String> {
        let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        if scheme.is_empty() || !scheme.chars().all(legal) {
            return Err(bad_url(
                "a broker's URL begins with a scheme, such as redis://localhost:6379",
            ));
        }
        Ok(scheme.to_ascii_lowercase())
    }

    /// Reads a URL. Nothing of its text is in an error, because it may hold a password.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when it is no URL, has a fragment, or gives an option twice.
    pub fn parse(text: &str) -> Result<Self> {
        let scheme = Self::scheme_of(text)?;
        let rest = &text[scheme.len() + 1..];
        if rest.contains('#') {
            return Err(bad_url(
                "a broker's URL has no `#` fragment; write `#` in a password as %23",
            ));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(credentials), hosts),
            None => (None, authority),
        };
        let (user, password) = match credentials.map(|c| c.split_once(':').unwrap_or((c, ""))) {
            Some((user, password)) => (decode(user)?, decode(password)?),
            None => (String::new(), String::new()),
        };
        Ok(Self {
            scheme,
            user: (!user.is_empty()).then_some(user),
            password: (!password.is_empty()).then(|| Secret::new(password)),
            hosts: hosts
                .split(',')
                .filter(|h| !h.is_empty())
                .map(host)
                .collect::<Result<_>>()?,
            path: decode(path)?,
            query: read_query(query)?,
        })
    }

    /// The options, to be asked for by name.
    #[must_use]
    pub fn options(&self) -> Options {
        Options {
            left: self.query.clone(),
            asked: Vec::new(),
        }
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        match (&self.user, &self.password) {
            (None, None) => {}
            (user, None) => write!(f, "{}@", user.as_deref().unwrap_or(""))?,
            (user, Some(masked)) => write!(f, "{}:{masked}@", user.as_deref().unwrap_or(""))?,
        }
        for (i, (host, port)) in self.hosts.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { "," })?;
            f.write_str(host)?;
            if let Some(port) = port {
                write!(f, ":{port}")?;
            }
        }
        if self.path.is_empty() {
            Ok(())
        } else {
            write!(f, "/{}", self.path)
        }
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BrokerUrl({self})")
    }
}

/// The options of a URL's query. A transport asks for each by name, then calls
/// [`finish`](Self::finish), which refuses what nobody asked for and lists what exists.
#[derive(Debug)]
pub struct Options {
    left: Vec<(String, String)>,
    asked: Vec<&'static str>,
}

impl Options {
    /// The text of an option.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.asked.push(name);
        let at = self.left.iter().position(|(known, _)| known == name)?;
        Some(self.left.remove(at).1)
    }

    /// A duration, such as `500ms`, `5s`, `2m`, `1h` or `7d`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when it is none.
    pub fn duration(&mut self, name: &'static str) -> Result<Option<Duration>> {
        self.text(name)
            .map(|text| parse_duration(&text).map_err(|e| e.with("option", name)))
            .transpose()
    }

    /// A whole number.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when it is none.
    pub fn number(&mut self, name: &'static str) -> Result<Option<u64>> {
        let read = |text: String| {
            text.parse()
                .map_err(|_| bad_url("the option is a whole number").with("option", name))
        };
        self.text(name).map(read).transpose()
    }

    /// One of these words, by its place.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when it is another.
    pub fn choice(&mut self, name: &'static str, words: &[&str]) -> Result<Option<usize>> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match words.iter().position(|word| *word == text) {
            Some(at) => Ok(Some(at)),
            None => Err(bad_url("the option is none of its words")
                .with("option", name)
                .with("words", words.join(", "))),
        }
    }

    /// Refuses options that nobody asked for.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`], with the options that exist.
    pub fn finish(mut self) -> Result<()> {
        let Some((name, _)) = self.left.first() else {
            return Ok(());
        };
        self.asked.sort_unstable();
        let known = if self.asked.is_empty() {
            "none".to_owned()
        } else {
            self.asked.join(", ")
        };
        // The name of an option is shown, its value never: it may be a password misplaced.
        let shown: String = name.chars().take(40).collect();
        Err(bad_url("the transport has no such option")
            .with("option", shown)
            .with("options", known))
    }
}

/// Reads a duration: a whole number and one of `ms`, `s`, `m`, `h`, `d`, such as `500ms`.
///
/// # Errors
///
/// [`ErrorKind::Config`] when it is none, or too long to count in milliseconds.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => 0,
    };
    let millis = number
        .parse::<u64>()
        .ok()
        .filter(|_| factor > 0)
        .and_then(|n| n.checked_mul(factor));
    millis.map(Duration::from_millis).ok_or_else(|| {
        bad_url("a duration is a whole number and one of ms, s, m, h, d, such as 500ms or 5s")
    })
}

fn host(text: &str) -> Result<(String, Option<u16>)> {
    let rule = || {
        bad_url(
            "a host is a name or address with an optional port, such as localhost:6379 or [::1]:6379",
        )
    };
    // The url crate knows addresses and names in all their spellings; `http` makes it apply them.
    let parsed = url::Url::parse(&format!("http://{text}/")).map_err(|_| rule())?;
    let name = parsed.host_str().ok_or_else(rule)?.to_owned();
    // `http` hides its own default port.
    let port = parsed
        .port()
        .or_else(|| text.ends_with(":80").then_some(80));
    if text.ends_with(':') || port == Some(0) || parsed.path() != "/" || parsed.username() != "" {
        return Err(rule());
    }
    Ok((name, port))
}

fn read_query(query: &str) -> Result<Vec<(String, String)>> {
    let mut options: Vec<(String, String)> = Vec::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if options.iter().any(|(known, _)| *known == name) {
            return Err(bad_url("the option is given twice").with("option", name));
        }
        options.push((name.into_owned(), value.into_owned()));
    }
    Ok(options)
}

fn decode(text: &str) -> Result<String> {
    // `+` is itself outside a query, and form decoding would make a space of it.
    let escaped = text
        .replace('+', "%2B")
        .replace('&', "%26")
        .replace('=', "%3D");
    let bad =
        || bad_url("a user, password or path has a `%` that begins no escape; write `%` as %25");
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let hex = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_hexdigit());
            if !hex(bytes.next()) || !hex(bytes.next()) {
                return Err(bad());
            }
        }
    }
    let decoded: String = url::form_urlencoded::parse(escaped.as_bytes())
        .next()
        .map(|(k, _)| k.into_owned())
        .unwrap_or_default();
    if decoded.contains(char::REPLACEMENT_CHARACTER) || decoded.contains('\0') {
        return Err(bad_url("a user, password or path is UTF-8 without NUL"));
    }
    Ok(decoded)
}

fn bad_url(rule: &'static str) -> Error {
    Error::new(ErrorKind::Config, "read URL", rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_usual_urls() {
        let url = BrokerUrl::parse("AMQP://u%40x:p%3Ass@[::1]:5672/%2Fvhost").unwrap();
        assert_eq!(
            (url.scheme.as_str(), url.user.as_deref()),
            ("amqp", Some("u@x"))
        );
        assert_eq!(url.password.unwrap().reveal(), "p:ss");
        assert_eq!(url.hosts, [("[::1]".to_owned(), Some(5672))]);
        assert_eq!(url.path, "/vhost");

        let url = BrokerUrl::parse("kafka://h1:80,h2/").unwrap();
        assert_eq!(
            url.hosts,
            [("h1".to_owned(), Some(80)), ("h2".to_owned(), None)]
        );
        for memory in ["memory:", "memory://"] {
            assert!(BrokerUrl::parse(memory).unwrap().hosts.is_empty());
        }
        let url = BrokerUrl::parse("redis://:a+b@h").unwrap();
        assert_eq!((url.user, url.password.unwrap().reveal()), (None, "a+b"));
    }

    #[test]
    fn refuses_what_is_none_and_never_shows_the_password() {
        for text in [
            "",
            "localhost",
            "://h",
            "redis://h:99999",
            "redis://h:0",
            "redis://h:",
            "redis://h x",
            "redis://u:canary@h:port",
            "redis://u:canary%@h",
            "redis://u:canary%ff@h",
            "redis://u:canary@h#x",
            "redis://u:can#ary@h",
            "redis://u:canary@h?lease=1s&lease=2s",
            "redis://u:canary%00@h",
            "redis://u:canary@a@b:x",
        ] {
            let error = BrokerUrl::parse(text).expect_err(text);
            assert_eq!(error.kind(), ErrorKind::Config, "{text}");
            assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
        }
        let url = BrokerUrl::parse("redis://u:canary@h/1?password=canary").unwrap();
        assert!(!format!("{url} {url:?}").contains("canary"));
        let error = url.options().finish().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    }

    #[test]
    fn unknown_options_are_refused_with_those_that_exist() {
        let url = BrokerUrl::parse("memory:?leese=1s").unwrap();
        let mut options = url.options();
        assert_eq!(options.duration("lease").unwrap(), None);
        assert_eq!(options.number("bytes").unwrap(), None);
        let error = options.finish().unwrap_err().to_string();
        assert!(
            error.contains("option=leese") && error.contains("options=bytes, lease"),
            "{error}"
        );
    }

    #[test]
    fn options_have_types() {
        let url = BrokerUrl::parse("memory:?lease=5&bytes=-1&trim=maybe").unwrap();
        let mut options = url.options();
        assert!(options.duration("lease").is_err());
        assert!(options.number("bytes").is_err());
        assert!(options.choice("trim", &["never", "force"]).is_err());
        for (text, ms) in [
            ("0ms", 0),
            ("500ms", 500),
            ("5s", 5000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(parse_duration(text).unwrap().as_millis(), ms);
        }
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "1.5s",
            "99999999999999999999s",
            "18446744073709551615d",
            "５s",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
