//! What a Redis URL and its options say.

use std::ops::RangeInclusive;
use std::time::Duration;

use potluck_core::message::BODY_MAX;
use potluck_core::subscription::LEASE_DEFAULT;
use potluck_core::url::{BrokerUrl, Options, parse_duration};
use potluck_core::{Error, ErrorKind, Result};
use redis::io::tcp::TcpSettings;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};

/// The longest that a read blocks, so that what another member released is seen within a second.
const BLOCK_MAX: Duration = Duration::from_millis(500);

/// How long leases may be. Shorter ones would end while they are settled.
pub(crate) const LEASES: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(86_400);

#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) connection: ConnectionInfo,
    /// The URL without its password.
    pub(crate) shown: String,
    /// How long a `Transport` method waits for the broker.
    pub(crate) timeout: Duration,
    pub(crate) lease: Duration,
    pub(crate) block: Duration,
    /// The entry field that holds the body.
    pub(crate) field: String,
    pub(crate) keep: Option<Keep>,
    /// Whether trimming passes entries that a group still needs.
    pub(crate) force_trim: bool,
    /// How many replicas must have a message before it counts as stored.
    pub(crate) min_replicas: u64,
    pub(crate) max_message: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    Count(u64),
    Age(Duration),
}

impl Config {
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let url = BrokerUrl::parse(url)?;
        let connection = connection(&url)?;
        let mut options = url.options();
        let config = Self {
            connection,
            shown: url.to_string(),
            timeout: bounded(
                &mut options,
                "timeout",
                Duration::from_millis(1)..=Duration::from_secs(600),
            )?
            .unwrap_or(Duration::from_secs(10)),
            lease: bounded(&mut options, "lease", LEASES)?.unwrap_or(LEASE_DEFAULT),
            block: bounded(&mut options, "block", Duration::from_millis(1)..=BLOCK_MAX)?
                .unwrap_or(BLOCK_MAX),
            field: field(&mut options)?,
            keep: keep(&mut options)?,
            force_trim: options.choice("trim", &["safe", "force"])? == Some(1),
            min_replicas: options.number("min_replicas")?.unwrap_or(0),
            max_message: BODY_MAX,
        };
        options.finish()?;
        if config.force_trim && config.keep.is_none() {
            return Err(bad("`trim=force` needs `keep=`: how much to keep"));
        }
        Ok(config)
    }
}

fn connection(url: &BrokerUrl) -> Result<ConnectionInfo> {
    let (host, port) = match url.hosts.as_slice() {
        [] => ("localhost".to_owned(), 6379),
        [(host, port)] => (host.clone(), port.unwrap_or(6379)),
        _ => {
            return Err(bad(
                "a Redis URL has one host; clusters are not supported yet",
            ));
        }
    };
    // Redis wants an IPv6 address without the brackets that a URL needs.
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let address = match url.scheme.as_str() {
        "redis" => ConnectionAddr::Tcp(host, port),
        "rediss" => tls_address(host, port)?,
        _ => return Err(bad("a Redis URL begins redis:// or, for TLS, rediss://")),
    };
    let db = match url.path.as_str() {
        "" => 0,
        path => path
            .parse()
            .map_err(|_| bad("the path of a Redis URL is the database's number, such as /0"))?,
    };
    let mut settings = RedisConnectionInfo::default()
        .set_db(db)
        .set_skip_set_lib_name();
    if let Some(password) = &url.password {
        settings = settings.set_password(password.reveal());
    }
    match (&url.user, &url.password) {
        (Some(_), None) => return Err(bad("a Redis URL with a user needs a password")),
        (Some(user), Some(_)) => settings = settings.set_username(user),
        (None, _) => {}
    }
    let info = address
        .into_connection_info()
        .map_err(|_| bad("the address is not one that Redis is reached at"))?;
    // Off by default in this client, and worth 40 ms on a small write.
    Ok(info
        .set_tcp_settings(TcpSettings::default().set_nodelay(true))
        .set_redis_settings(settings))
}

#[cfg(feature = "tls")]
fn tls_address(host: String, port: u16) -> Result<ConnectionAddr> {
    // The client panics at its first TLS connection unless the process has chosen a provider.
    // An error says that it has.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(ConnectionAddr::TcpTls {
        host,
        port,
        insecure: false,
        tls_params: None,
    })
}

#[cfg(not(feature = "tls"))]
fn tls_address(_: String, _: u16) -> Result<ConnectionAddr> {
    Err(bad(
        "rediss: needs TLS, which this build lacks; turn on the feature `tls`",
    ))
}

fn bounded(
    options: &mut Options,
    name: &'static str,
    range: RangeInclusive<Duration>,
) -> Result<Option<Duration>> {
    let value = options.duration(name)?;
    match value {
        Some(value) if !range.contains(&value) => Err(bad("the option is out of its range")
            .with("option", name)
            .with("from", format!("{:?}", range.start()))
            .with("to", format!("{:?}", range.end()))),
        value => Ok(value),
    }
}

fn field(options: &mut Options) -> Result<String> {
    let field = options.text("field").unwrap_or_else(|| "data".to_owned());
    if field.is_empty() || field == "key" || field.starts_with("h:") {
        return Err(bad(
            "`field=` names the entry field of the body: not empty, not `key`, not `h:…`",
        ));
    }
    Ok(field)
}

fn keep(options: &mut Options) -> Result<Option<Keep>> {
    let Some(text) = options.text("keep") else {
        return Ok(None);
    };
    let keep = match text.parse() {
        Ok(count) => Some(Keep::Count(count)),
        Err(_) => parse_duration(&text).ok().map(Keep::Age),
    };
    match keep {
        Some(Keep::Count(0)) | None => Err(bad(
            "`keep=` is a number of messages or an age, such as 100000 or 7d",
        )),
        keep => Ok(keep),
    }
}

fn bad(rule: &'static str) -> Error {
    Error::new(ErrorKind::Config, "read Redis URL", rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_options_and_refuses_others() {
        let config = Config::parse(
            "redis://u:canary@[::1]:7000/3?lease=5s&block=100ms&keep=7d&trim=force&min_replicas=1&field=__data__&timeout=2s",
        )
        .unwrap();
        assert_eq!(
            config.connection.addr(),
            &ConnectionAddr::Tcp("::1".into(), 7000)
        );
        assert_eq!(config.connection.redis_settings().db(), 3);
        assert_eq!(config.keep, Some(Keep::Age(Duration::from_secs(604_800))));
        assert_eq!((config.lease.as_secs(), config.block.as_millis()), (5, 100));
        assert!(config.force_trim && config.min_replicas == 1 && config.field == "__data__");
        assert!(!config.shown.contains("canary"));
        assert!(config.connection.tcp_settings().nodelay());

        let error = Config::parse("redis://h?leese=1s").unwrap_err().to_string();
        for option in [
            "block",
            "field",
            "keep",
            "lease",
            "min_replicas",
            "timeout",
            "trim",
        ] {
            assert!(error.contains(option), "{error}");
        }
    }

    #[test]
    fn refuses_what_it_cannot_do() {
        for url in [
            "redis://a,b",
            "redis://h/x",
            "redis://u@h",
            "redis://h?block=501ms",
            "redis://h?block=0ms",
            "redis://h?keep=0",
            "redis://h?keep=many",
            "redis://h?trim=force",
            "redis://h?field=key",
            "redis://h?lease=1ms",
            "redis://h?trim=never",
            "redis://h/-1x",
        ] {
            let error = Config::parse(url).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::Config, "{url}");
        }
        if cfg!(not(feature = "tls")) {
            assert!(
                Config::parse("rediss://h")
                    .unwrap_err()
                    .to_string()
                    .contains("`tls`")
            );
        }
    }
}
