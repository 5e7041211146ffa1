//! How is a Redis server asked one thing, without a client library whose habits are under test?

use std::{net::SocketAddr, pin::Pin};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::{BrokerError, Result};

/// The longest string that is read.
const STRING_MAX: usize = 64 * 1024 * 1024;
/// The most items that an array may have.
const ITEMS_MAX: usize = 1024 * 1024;
/// How deep arrays may nest.
const DEPTH_MAX: usize = 16;

/// What a Redis server answers (RESP2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Nothing: the key, or the item, does not exist.
    Nil,
    /// A number.
    Int(i64),
    /// A short status such as `OK`.
    Status(String),
    /// The bytes of a value.
    Bulk(Vec<u8>),
    /// Several replies.
    Array(Vec<Reply>),
    /// An error inside an array, as `EXEC` gives. Alone, an error is
    /// [`BrokerError::Replied`].
    Error(String),
}

impl Reply {
    /// The text of a status, an error or a value; bytes that are no UTF-8 are replaced.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Status(text) | Self::Error(text) => Some(text.clone()),
            Self::Bulk(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            Self::Nil | Self::Int(_) | Self::Array(_) => None,
        }
    }

    /// The number.
    pub fn int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The items of an array.
    pub fn items(&self) -> Option<&[Reply]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }
}

/// A connection that sends one command and waits for its reply, and then the next.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) async fn open(server: SocketAddr, password: Option<&str>) -> Result<Self> {
        let stream = TcpStream::connect(server).await;
        let stream = stream.map_err(BrokerError::io(format!("connect to {server}")))?;
        let mut connection = Self {
            stream: BufReader::new(stream),
        };
        if let Some(password) = password {
            connection.command(&["AUTH", password]).await?;
        }
        Ok(connection)
    }

    pub(crate) async fn command<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Result<Reply> {
        let mut request = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args.iter().map(AsRef::as_ref) {
            request.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            request.extend_from_slice(arg);
            request.extend_from_slice(b"\r\n");
        }
        let sent = self.stream.get_mut().write_all(&request).await;
        sent.map_err(BrokerError::io("send a command"))?;
        match read(&mut self.stream, 0).await? {
            Reply::Error(message) => {
                let name = args
                    .first()
                    .map(|arg| String::from_utf8_lossy(arg.as_ref()));
                Err(BrokerError::Replied {
                    command: name.unwrap_or_default().into(),
                    message,
                })
            }
            reply => Ok(reply),
        }
    }
}

/// Boxed, because arrays hold replies.
fn read(
    stream: &mut BufReader<TcpStream>,
    depth: usize,
) -> Pin<Box<dyn Future<Output = Result<Reply>> + Send + '_>> {
    Box::pin(async move {
        let line = line(stream).await?;
        let mut rest = line.chars();
        let kind = rest.next();
        let rest = rest.as_str();
        match kind {
            Some('+') => Ok(Reply::Status(rest.to_owned())),
            Some('-') => Ok(Reply::Error(rest.to_owned())),
            Some(':') => rest.parse().map(Reply::Int).map_err(|_| strange(&line)),
            Some('$' | '*') if rest == "-1" => Ok(Reply::Nil),
            Some('$') => {
                let mut bytes = vec![0; count(rest, STRING_MAX)? + 2];
                let filled = stream.read_exact(&mut bytes).await;
                filled.map_err(BrokerError::io("read a reply"))?;
                bytes.truncate(bytes.len() - 2);
                Ok(Reply::Bulk(bytes))
            }
            Some('*') if depth < DEPTH_MAX => {
                let mut items = Vec::new();
                for _ in 0..count(rest, ITEMS_MAX)? {
                    items.push(read(stream, depth + 1).await?);
                }
                Ok(Reply::Array(items))
            }
            _ => Err(strange(&line)),
        }
    })
}

async fn line(stream: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = Vec::new();
    // The limit is for what is no Redis server at all.
    let read = stream
        .take(STRING_MAX as u64)
        .read_until(b'\n', &mut line)
        .await;
    read.map_err(BrokerError::io("read a reply"))?;
    let text = String::from_utf8_lossy(&line);
    let text = text.strip_suffix("\r\n").ok_or_else(|| strange(&text))?;
    Ok(text.to_owned())
}

fn count(digits: &str, max: usize) -> Result<usize> {
    let count: Option<usize> = digits.parse().ok();
    count
        .filter(|count| *count <= max)
        .ok_or_else(|| strange(digits))
}

fn strange(text: &str) -> BrokerError {
    BrokerError::Reply(
        text.chars()
            .take(80)
            .collect::<String>()
            .escape_debug()
            .to_string(),
    )
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// The reply to one command from a server that answers with exactly `bytes`.
    async fn reply(bytes: &'static [u8]) -> Result<Reply> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = async {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut request = [0; 14];
            client.read_exact(&mut request).await.unwrap();
            assert_eq!(&request, b"*1\r\n$4\r\nPING\r\n");
            client.write_all(bytes).await.unwrap();
        };
        let ask = async {
            Connection::open(address, None)
                .await?
                .command(&["PING"])
                .await
        };
        tokio::join!(serve, ask).1
    }

    #[tokio::test]
    async fn every_kind_of_reply_is_read() {
        assert_eq!(reply(b"+PONG\r\n").await.unwrap().text().unwrap(), "PONG");
        assert_eq!(reply(b":-7\r\n").await.unwrap().int(), Some(-7));
        assert_eq!(reply(b"$-1\r\n").await.unwrap(), Reply::Nil);
        assert_eq!(reply(b"*-1\r\n").await.unwrap(), Reply::Nil);
        assert_eq!(reply(b"$0\r\n\r\n").await.unwrap(), Reply::Bulk(Vec::new()));
        assert_eq!(
            reply(b"$4\r\na\r\nb\r\n").await.unwrap(),
            Reply::Bulk(b"a\r\nb".to_vec())
        );
        let nested = reply(b"*3\r\n*1\r\n:1\r\n-ERR no\r\n$1\r\nx\r\n")
            .await
            .unwrap();
        let one = Reply::Array(vec![Reply::Int(1)]);
        let no = Reply::Error("ERR no".to_owned());
        assert_eq!(
            nested.items().unwrap(),
            [one, no, Reply::Bulk(b"x".to_vec())]
        );
    }

    #[tokio::test]
    async fn an_error_is_an_error_that_names_the_command() {
        let error = reply(b"-OOM not now\r\n").await.unwrap_err();
        assert_eq!(error.to_string(), "PING was refused: OOM not now");
    }

    #[tokio::test]
    async fn what_is_no_reply_is_refused() {
        for bytes in [
            &b"HTTP/1.1 400\r\n"[..],
            b"",
            b"+cut",
            b"$x\r\n",
            b"$99999999999\r\n",
            b":\r\n",
        ] {
            assert!(
                matches!(reply(bytes).await, Err(BrokerError::Reply(_))),
                "{bytes:?}"
            );
        }
        assert!(matches!(
            reply(b"$9\r\nshort").await,
            Err(BrokerError::Io { .. })
        ));
    }

    #[tokio::test]
    async fn nesting_has_a_limit() {
        let deep: &'static [u8] = b"*1\r\n".repeat(100).leak();
        assert!(matches!(reply(deep).await, Err(BrokerError::Reply(_))));
    }
}
