//! Does the silent server accept, and never answer?

use std::time::Duration;

use potluck_brokers::{Result, silent::SilentServer, wait};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn accepts_and_never_answers() -> Result<()> {
    let silent = SilentServer::start().await?;
    assert_eq!(silent.port(), silent.addr().port());
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = TcpStream::connect(silent.addr()).await.unwrap();
        // More than any buffer on the way holds: it is read, and not answered.
        let sent = timeout(SOON, client.write_all(&[1; 20_000_000])).await;
        sent.expect("in time").unwrap();
        let heard = timeout(Duration::from_millis(150), client.read(&mut [0])).await;
        assert!(heard.is_err(), "{heard:?}");
        clients.push(client);
    }
    assert_eq!((silent.connections(), silent.accepted()), (2, 2));
    drop(clients);
    wait::until(SOON, "the clients to be gone", async || {
        silent.connections() == 0
    })
    .await?;
    assert_eq!(silent.accepted(), 2);
    Ok(())
}
