//! Does each mode of the proxy do what it says, to the byte?

mod echo;

use std::{net::SocketAddr, time::Duration};

use echo::{Client, Echo, End, QUIET, SOON};
use potluck_brokers::{Result, proxy::Proxy, wait};
use tokio::{
    io::AsyncWriteExt,
    net::TcpListener,
    time::{Instant, timeout},
};

async fn echo_and_proxy() -> Result<(Echo, Proxy)> {
    let echo = Echo::start().await;
    let proxy = Proxy::start(echo.addr).await?;
    Ok((echo, proxy))
}

async fn connections(proxy: &Proxy, count: usize) -> Result<()> {
    wait::until(SOON, "the number of connections", async || {
        proxy.connections() == count
    })
    .await
}

#[tokio::test]
async fn passes_bytes_and_ends() -> Result<()> {
    let (echo, proxy) = echo_and_proxy().await?;
    let mut client = Client::connect(proxy.addr()).await;
    client.echo(1).await;
    assert_eq!((proxy.connections(), proxy.accepted()), (1, 1));
    let (mut read, mut write) = client.0.into_split();
    let much = vec![7; 3_000_000];
    let sent = async {
        write.write_all(&much).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut back = Vec::new();
    let received = tokio::io::AsyncReadExt::read_to_end(&mut read, &mut back);
    let both = timeout(SOON, async { tokio::join!(sent, received) }).await;
    both.expect("in time").1.expect("an orderly end");
    assert!(back == much, "{} bytes", back.len());
    echo.has_received(3_000_001).await?;
    echo.has_seen(&[End::Closed]).await?;
    connections(&proxy, 0).await
}

#[tokio::test]
async fn cut_resets_existing_and_passes_new() -> Result<()> {
    let (echo, proxy) = echo_and_proxy().await?;
    let mut clients = [
        Client::connect(proxy.addr()).await,
        Client::connect(proxy.addr()).await,
    ];
    for client in &mut clients {
        client.echo(100).await;
    }
    proxy.cut();
    for client in &mut clients {
        assert_eq!(client.rest().await, (0, End::Reset));
    }
    echo.has_seen(&[End::Reset; 2]).await?;
    connections(&proxy, 0).await?;
    Client::connect(proxy.addr()).await.echo(100).await;
    assert_eq!((echo.received(), proxy.accepted()), (300, 3));
    Ok(())
}

#[tokio::test]
async fn refuse_resets_existing_and_new() -> Result<()> {
    let (echo, proxy) = echo_and_proxy().await?;
    let mut old = Client::connect(proxy.addr()).await;
    old.echo(100).await;
    proxy.refuse();
    assert_eq!(old.rest().await, (0, End::Reset));
    let mut new = Client::connect(proxy.addr()).await;
    assert_eq!(new.rest().await, (0, End::Reset));
    connections(&proxy, 0).await?;
    assert_eq!((echo.accepted(), proxy.accepted()), (1, 2));
    proxy.pass();
    Client::connect(proxy.addr()).await.echo(100).await;
    Ok(())
}

#[tokio::test]
async fn black_hole_swallows_both_ways_and_for_ever() -> Result<()> {
    let (echo, proxy) = echo_and_proxy().await?;
    let mut loser = Client::connect(proxy.addr()).await;
    let mut idle = Client::connect(proxy.addr()).await;
    loser.echo(100).await;
    idle.echo(100).await;
    proxy.black_hole();
    let mut born_in_it = Client::connect(proxy.addr()).await;
    // More than any buffer on the way holds: what is swallowed does not push back.
    loser.send(20_000_000).await;
    born_in_it.send(100).await;
    loser.hears_nothing().await;
    born_in_it.hears_nothing().await;
    assert_eq!(
        (echo.received(), echo.accepted(), proxy.connections()),
        (200, 2, 3)
    );

    proxy.pass();
    loser.send(50).await;
    loser.hears_nothing().await;
    born_in_it.send(50).await;
    born_in_it.hears_nothing().await;
    assert_eq!(echo.received(), 200);
    idle.echo(100).await;
    Client::connect(proxy.addr()).await.echo(100).await;
    assert_eq!(echo.received(), 400);

    proxy.cut();
    assert_eq!(loser.rest().await, (0, End::Reset));
    assert_eq!(born_in_it.rest().await, (0, End::Reset));
    connections(&proxy, 0).await
}

#[tokio::test]
async fn black_hole_swallows_the_ends_of_connections() -> Result<()> {
    let (echo, proxy) = echo_and_proxy().await?;
    let mut leaver = Client::connect(proxy.addr()).await;
    let mut stayer = Client::connect(proxy.addr()).await;
    leaver.echo(1).await;
    stayer.echo(1).await;
    proxy.black_hole();
    drop(leaver);
    connections(&proxy, 1).await?;
    drop(echo);
    stayer.hears_nothing().await;
    stayer.send(1000).await;
    proxy.pass();
    stayer.send(1000).await;
    stayer.hears_nothing().await;
    proxy.cut();
    assert_eq!(stayer.rest().await, (0, End::Reset));
    Ok(())
}

#[tokio::test]
async fn black_hole_hides_a_client_that_left_from_the_server() -> Result<()> {
    let (echo, proxy) = echo_and_proxy().await?;
    let mut client = Client::connect(proxy.addr()).await;
    client.echo(1).await;
    proxy.black_hole();
    drop(client);
    connections(&proxy, 0).await?;
    proxy.pass();
    let ended = wait::until(QUIET, "an end", async || !echo.ends().is_empty()).await;
    assert!(ended.is_err(), "{:?}", echo.ends());
    proxy.cut();
    echo.has_seen(&[End::Reset]).await
}

#[tokio::test]
async fn black_hole_replies_lets_requests_pass() -> Result<()> {
    let (echo, proxy) = echo_and_proxy().await?;
    let mut client = Client::connect(proxy.addr()).await;
    client.echo(100).await;
    proxy.black_hole_replies();
    client.send(1000).await;
    echo.has_received(1100).await?;
    client.hears_nothing().await;
    proxy.black_hole_replies();
    client.send(1000).await;
    echo.has_received(2100).await?;
    let mut new = Client::connect(proxy.addr()).await;
    new.send(10).await;
    echo.has_received(2110).await?;
    new.hears_nothing().await;

    proxy.pass();
    for lost in [&mut client, &mut new] {
        lost.send(1000).await;
        lost.hears_nothing().await;
    }
    assert_eq!(echo.received(), 2110);
    Client::connect(proxy.addr()).await.echo(100).await;
    Ok(())
}

#[tokio::test]
async fn black_hole_replies_tells_the_server_of_a_client_that_left() -> Result<()> {
    let (echo, proxy) = echo_and_proxy().await?;
    let mut client = Client::connect(proxy.addr()).await;
    client.echo(100).await;
    proxy.black_hole_replies();
    drop(client);
    echo.has_seen(&[End::Closed]).await?;
    connections(&proxy, 0).await
}

#[tokio::test]
async fn black_hole_replies_hides_a_server_that_died() -> Result<()> {
    let (echo, proxy) = echo_and_proxy().await?;
    let mut client = Client::connect(proxy.addr()).await;
    client.echo(100).await;
    proxy.black_hole_replies();
    drop(echo);
    for _ in 0..3 {
        client.send(1000).await;
        client.hears_nothing().await;
    }
    assert_eq!(proxy.connections(), 1);
    Ok(())
}

#[tokio::test]
async fn freeze_existing_is_for_ever_and_spares_new() -> Result<()> {
    let (echo, proxy) = echo_and_proxy().await?;
    let mut old = Client::connect(proxy.addr()).await;
    old.echo(100).await;
    proxy.freeze_existing();
    let mut new = Client::connect(proxy.addr()).await;
    old.send(1000).await;
    new.echo(10).await;
    old.hears_nothing().await;
    for later in [Proxy::pass, Proxy::black_hole_replies, Proxy::pass] {
        later(&proxy);
        old.send(1000).await;
        old.hears_nothing().await;
    }
    new.echo(10).await;
    assert_eq!((echo.received(), proxy.connections()), (120, 2));
    // Frozen again, the new one is an existing one.
    proxy.freeze_existing();
    new.send(10).await;
    new.hears_nothing().await;
    assert_eq!(echo.received(), 120);
    Ok(())
}

#[tokio::test]
async fn latency_delays_each_way_and_does_not_add_up() -> Result<()> {
    let (echo, proxy) = echo_and_proxy().await?;
    let mut client = Client::connect(proxy.addr()).await;
    client.echo(1).await;
    let one_way = Duration::from_millis(100);
    proxy.latency(one_way);
    let start = Instant::now();
    for _ in 0..30 {
        client.send(10).await;
        // So that they travel as thirty.
        tokio::task::yield_now().await;
    }
    for _ in 0..30 {
        client.receive(10).await;
    }
    let took = start.elapsed();
    assert!(took >= 2 * one_way && took < 10 * one_way, "{took:?}");
    echo.has_received(301).await?;

    // What waits goes at once when it need not wait any more.
    proxy.latency(Duration::from_secs(3600));
    client.send(10).await;
    client.hears_nothing().await;
    proxy.pass();
    client.receive(10).await;
    // And is lost when everything is.
    proxy.latency(Duration::from_secs(3600));
    client.send(10).await;
    client.hears_nothing().await;
    proxy.black_hole();
    client.hears_nothing().await;
    proxy.pass();
    client.hears_nothing().await;
    assert_eq!(echo.received(), 311);
    Ok(())
}

#[tokio::test]
async fn cut_after_counts_requests_over_all_connections() -> Result<()> {
    let (echo, proxy) = echo_and_proxy().await?;
    let mut one = Client::connect(proxy.addr()).await;
    let mut two = Client::connect(proxy.addr()).await;
    one.echo(1).await;
    two.echo(1).await;
    proxy.cut_after(1000);
    one.echo(600).await;
    two.send(600).await;
    assert_eq!(one.rest().await, (0, End::Reset));
    assert_eq!(two.rest().await.1, End::Reset);
    echo.has_received(1002).await?;
    echo.has_seen(&[End::Closed; 2]).await?;
    Client::connect(proxy.addr()).await.echo(5000).await;
    Ok(())
}

#[tokio::test]
async fn cut_after_is_exact_in_the_middle_of_a_stream() -> Result<()> {
    let (echo, proxy) = echo_and_proxy().await?;
    for bytes in [0, 1, 16_384, 99_999] {
        let before = echo.received();
        let mut client = Client::connect(proxy.addr()).await;
        client.echo(1).await;
        proxy.cut_after(bytes);
        // The proxy resets while this is being written.
        let _ = timeout(SOON, client.0.write_all(&vec![1; 1_000_000]))
            .await
            .expect("in time");
        assert_eq!(client.rest().await.1, End::Reset);
        echo.has_received(before + 1 + bytes).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_connection_that_was_cut_is_not_open_though_the_server_reads_late() -> Result<()> {
    let (echo, proxy) = echo_and_proxy().await?;
    let mut client = Client::connect(proxy.addr()).await;
    client.echo(1).await;
    echo.stall();
    proxy.cut_after(100_000);
    let _ = timeout(SOON, client.0.write_all(&[1; 1_000_000])).await;
    assert_eq!(client.rest().await.1, End::Reset);
    connections(&proxy, 0).await?;
    assert!(echo.received() < 100_001 && echo.ends().is_empty());
    echo.resume();
    echo.has_received(100_001).await?;
    echo.has_seen(&[End::Closed]).await
}

#[tokio::test]
async fn cut_replies_after_is_exact() -> Result<()> {
    let (echo, proxy) = echo_and_proxy().await?;
    let mut idle = Client::connect(proxy.addr()).await;
    idle.echo(1).await;
    let mut client = Client::connect(proxy.addr()).await;
    client.echo(1).await;
    proxy.cut_replies_after(700);
    client.echo(300).await;
    client.send(500).await;
    assert_eq!(client.rest().await, (400, End::Closed));
    assert_eq!(idle.rest().await, (0, End::Closed));
    echo.has_received(802).await?;
    echo.has_seen(&[End::Reset; 2]).await?;
    Client::connect(proxy.addr()).await.echo(5000).await;
    Ok(())
}

#[tokio::test]
async fn a_server_that_does_not_read_holds_up_nothing_but_bytes() -> Result<()> {
    let (echo, proxy) = echo_and_proxy().await?;
    let mut client = Client::connect(proxy.addr()).await;
    client.echo(1).await;
    echo.stall();
    let much = vec![0; 40_000_000];
    let full = timeout(QUIET, client.0.write_all(&much)).await;
    assert!(
        full.is_err(),
        "the proxy must not take what the server does not"
    );
    // A write that waits for the server is no reason not to swallow, nor not to cut.
    proxy.black_hole();
    client.send(40_000_000).await;
    let mut other = Client::connect(proxy.addr()).await;
    proxy.pass();
    assert!(timeout(QUIET, other.rest()).await.is_err());
    proxy.cut();
    // What the server sent back of its last read before it stalled may come first.
    assert_eq!(client.rest().await.1, End::Reset);
    Ok(())
}

#[tokio::test]
async fn without_a_server_a_client_is_reset() -> Result<()> {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = nobody.local_addr().unwrap();
    drop(nobody);
    let proxy = Proxy::start(target).await?;
    assert_eq!(
        Client::connect(proxy.addr()).await.rest().await,
        (0, End::Reset)
    );
    let echo = Echo::start().await;
    proxy.retarget(echo.addr);
    Client::connect(proxy.addr()).await.echo(100).await;
    Ok(())
}

#[tokio::test]
async fn the_end_of_the_proxy_ends_everything() -> Result<()> {
    let (echo, proxy) = echo_and_proxy().await?;
    let mut client = Client::connect(proxy.addr()).await;
    client.echo(1).await;
    let addr: SocketAddr = proxy.addr();
    drop(proxy);
    client.rest().await;
    wait::until(SOON, "the server's side to end", async || {
        echo.ends().len() == 1
    })
    .await?;
    wait::until(SOON, "the port to close", async || {
        tokio::net::TcpStream::connect(addr).await.is_err()
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_after_is_exact_for_many_at_once() -> Result<()> {
    let (echo, proxy) = echo_and_proxy().await?;
    let mut expected = 0;
    for budget in [1_000_003, 999_983, 3_000_017] {
        let mut clients = Vec::new();
        for _ in 0..8 {
            let mut client = Client::connect(proxy.addr()).await;
            client.echo(1).await;
            clients.push(client);
        }
        proxy.cut_after(budget);
        expected += 8 + budget;
        let senders = clients.into_iter().map(|mut client| {
            tokio::spawn(async move {
                // Until it is cut. What comes back must not fill the way.
                while client.0.write_all(&[0; 1000]).await.is_ok() {
                    while matches!(client.0.try_read(&mut [0; 8192]), Ok(1..)) {}
                }
            })
        });
        for sender in senders.collect::<Vec<_>>() {
            timeout(SOON, sender).await.expect("a cut").unwrap();
        }
        echo.has_received(expected).await?;
        connections(&proxy, 0).await?;
    }
    Ok(())
}
