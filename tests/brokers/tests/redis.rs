//! Does a test own its Redis server: its life, its data, its end?

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use potluck_brokers::{
    BrokerError, Result,
    proxy::Proxy,
    redis::{self, Persistence, RedisOptions, RedisServer},
    resp::Reply,
    skip::or_skip,
    wait,
};

const SOON: Duration = Duration::from_secs(10);

/// A server, or `None` where Redis is not installed and need not be.
async fn start(options: RedisOptions) -> Result<Option<RedisServer>> {
    or_skip(RedisServer::start(options).await)
}

/// Whether a process exists that is more than a zombie.
fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .starts_with(" Z")
    })
}

async fn until_dead(pid: u32) -> Result<()> {
    wait::until(SOON, "the server to be dead", async || !is_alive(pid)).await
}

#[tokio::test]
async fn lives_and_leaves_nothing() -> Result<()> {
    let Some(server) = start(RedisOptions::default()).await? else {
        return Ok(());
    };
    assert!(redis::is_available());
    assert_eq!(server.url(), format!("redis://127.0.0.1:{}", server.port()));
    assert_eq!(
        server.cli(&["PING"]).await?,
        Reply::Status("PONG".to_owned())
    );
    assert_eq!(server.cli(&["GET", "nothing"]).await?, Reply::Nil);
    let binary = [&b"SET"[..], b"key", b"\r\n\0\xff"];
    server.cli(&binary).await?;
    assert_eq!(
        server.cli(&["GET", "key"]).await?,
        Reply::Bulk(b"\r\n\0\xff".to_vec())
    );
    let error = server.cli(&["INCR", "key"]).await.unwrap_err();
    assert!(
        error.to_string().starts_with("INCR was refused: ERR"),
        "{error}"
    );

    let (pid, dir) = (server.pid().unwrap(), server.dir().to_owned());
    assert!(is_alive(pid) && dir.join("redis.log").is_file());
    drop(server);
    assert!(
        !Path::new(&format!("/proc/{pid}")).exists(),
        "not even a zombie stays"
    );
    assert!(!dir.exists());
    Ok(())
}

#[tokio::test]
async fn a_panic_ends_the_server() -> Result<()> {
    let Some(server) = start(RedisOptions::default()).await? else {
        return Ok(());
    };
    let (pid, dir) = (server.pid().unwrap(), server.dir().to_owned());
    let panicked = tokio::spawn(async move {
        let _server = server;
        panic!("as a test does that fails");
    });
    assert!(panicked.await.unwrap_err().is_panic());
    assert!(!is_alive(pid) && !dir.exists());
    Ok(())
}

#[tokio::test]
async fn the_servers_children_end_with_it() -> Result<()> {
    // Each key takes a snapshot ten seconds.
    let slow = RedisOptions::default().config("rdb-key-save-delay 10000000");
    let Some(server) = start(slow).await? else {
        return Ok(());
    };
    server.cli(&["SET", "key", "value"]).await?;
    server.cli(&["BGSAVE"]).await?;
    let pid = server.pid().unwrap();
    let children = format!("/proc/{pid}/task/{pid}/children");
    let mut child = 0;
    wait::until(SOON, "a child", async || {
        let ids = fs::read_to_string(&children).unwrap_or_default();
        child = ids.trim().parse().unwrap_or(0);
        child != 0
    })
    .await?;
    assert!(is_alive(child));
    drop(server);
    until_dead(child).await
}

#[tokio::test]
async fn two_at_once_are_two() -> Result<()> {
    let (one, two) = tokio::join!(
        start(RedisOptions::default()),
        start(RedisOptions::default())
    );
    let (Some(one), Some(two)) = (one?, two?) else {
        return Ok(());
    };
    assert_ne!(one.port(), two.port());
    assert_ne!(one.dir(), two.dir());
    one.cli(&["SET", "of", "one"]).await?;
    assert_eq!(two.cli(&["EXISTS", "of"]).await?, Reply::Int(0));
    Ok(())
}

#[tokio::test]
async fn kill_keeps_what_was_synced() -> Result<()> {
    let options = RedisOptions::default().persistence(Persistence::AofAlways);
    let Some(server) = start(options).await? else {
        return Ok(());
    };
    let (port, dir, first) = (
        server.port(),
        server.dir().to_owned(),
        server.pid().unwrap(),
    );
    for number in 0..100 {
        server
            .cli(&["XADD", "stream", "*", "number", &number.to_string()])
            .await?;
    }
    assert!(matches!(
        server.restart().await,
        Err(BrokerError::State { is: "running", .. })
    ));
    server.kill().await?;
    assert!(!is_alive(first) && server.pid().is_none());
    assert!(server.cli(&["PING"]).await.is_err());
    server.kill().await?;

    server.restart().await?;
    assert_eq!((server.port(), server.dir()), (port, dir.as_path()));
    assert_ne!(server.pid().unwrap(), first);
    assert_eq!(server.cli(&["XLEN", "stream"]).await?, Reply::Int(100));
    Ok(())
}

#[tokio::test]
async fn kill_without_persistence_keeps_nothing() -> Result<()> {
    let Some(server) = start(RedisOptions::default()).await? else {
        return Ok(());
    };
    server.cli(&["SET", "key", "value"]).await?;
    server.kill().await?;
    server.restart().await?;
    assert_eq!(server.cli(&["DBSIZE"]).await?, Reply::Int(0));
    Ok(())
}

#[tokio::test]
async fn stop_is_graceful_and_thaws() -> Result<()> {
    let options = RedisOptions::default().persistence(Persistence::AofEverysec);
    let Some(server) = start(options).await? else {
        return Ok(());
    };
    server.cli(&["SET", "key", "value"]).await?;
    server.freeze().await?;
    server.stop().await?;
    let log = fs::read_to_string(server.dir().join("redis.log")).unwrap();
    assert!(log.contains("bye bye"), "{log}");
    for not_running in [
        server.freeze().await,
        server.thaw(),
        server.wait_ready(SOON).await,
    ] {
        assert!(matches!(
            not_running,
            Err(BrokerError::State {
                is: "not running",
                ..
            })
        ));
    }
    server.stop().await?;
    server.restart().await?;
    assert_eq!(server.cli(&["GET", "key"]).await?.text().unwrap(), "value");
    Ok(())
}

#[tokio::test]
async fn a_crash_is_seen_and_restarted_from() -> Result<()> {
    let Some(server) = start(RedisOptions::default()).await? else {
        return Ok(());
    };
    let pid = server.pid().unwrap();
    // The connection is closed instead of an answer.
    server.cli(&["SHUTDOWN", "NOSAVE"]).await.unwrap_err();
    until_dead(pid).await?;
    let error = server.wait_ready(SOON).await.unwrap_err();
    assert!(
        error.to_string().contains("it ended with exit status: 0"),
        "{error}"
    );
    server.freeze().await.unwrap_err();
    server.restart().await?;
    server.kill().await
}

#[tokio::test]
async fn freeze_and_thaw() -> Result<()> {
    let Some(server) = start(RedisOptions::default()).await? else {
        return Ok(());
    };
    for round in 1..=3 {
        server.freeze().await?;
        let start = Instant::now();
        let error = server
            .wait_ready(Duration::from_millis(300))
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("not ready within 300ms"),
            "{error}"
        );
        assert!(start.elapsed() < Duration::from_secs(2));
        // What is sent to a frozen server is done when it is thawed.
        let ask = server.cli(&["INCR", "rounds"]);
        let mut ask = std::pin::pin!(ask);
        let frozen = tokio::time::timeout(Duration::from_millis(100), &mut ask).await;
        assert!(frozen.is_err(), "{frozen:?}");
        server.thaw()?;
        assert_eq!(ask.await?, Reply::Int(round));
        server.wait_ready(SOON).await?;
    }
    server.freeze().await?;
    server.kill().await
}

#[tokio::test]
async fn a_password_of_any_characters() -> Result<()> {
    let options = RedisOptions::default().password("p w\"\\'@:/#ü%");
    let Some(server) = start(options).await? else {
        return Ok(());
    };
    let encoded = "p%20w%22%5C%27%40%3A%2F%23%C3%BC%25";
    assert_eq!(
        server.url(),
        format!("redis://:{encoded}@127.0.0.1:{}", server.port())
    );
    assert_eq!(server.cli(&["PING"]).await?.text().unwrap(), "PONG");
    server
        .cli(&["CONFIG", "SET", "requirepass", "another"])
        .await?;
    let error = server.cli(&["PING"]).await.unwrap_err();
    assert!(
        error.to_string().starts_with("AUTH was refused: WRONGPASS"),
        "{error}"
    );
    server.kill().await?;
    server.restart().await?;
    server.cli(&["PING"]).await.map(|_| ())
}

#[tokio::test]
async fn config_lines_are_in_force() -> Result<()> {
    let options = RedisOptions::default()
        .config("maxmemory 100kb")
        .config("maxmemory-policy noeviction");
    let Some(server) = start(options).await? else {
        return Ok(());
    };
    let error = server
        .cli(&["XADD", "stream", "*", "key", "value"])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("OOM"), "{error}");
    for line in ["port 1", "  REQUIREPASS x"] {
        let error = RedisServer::start(RedisOptions::default().config(line))
            .await
            .unwrap_err();
        assert!(matches!(error, BrokerError::Options(_)), "{error}");
    }
    Ok(())
}

#[tokio::test]
async fn a_bad_config_shows_the_log() -> Result<()> {
    let bad = RedisOptions::default().config("no-such-setting yes");
    let error = match start(bad).await {
        Ok(None) => return Ok(()),
        Ok(Some(_)) => panic!("started"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("it ended with exit status: 1"), "{error}");
    assert!(error.contains("FATAL CONFIG FILE ERROR"), "{error}");
    assert!(error.contains("no-such-setting"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_missing_program_says_how_to_install_it() {
    for program in [
        "/no/such/redis-server",
        "no-such-redis-server",
        "/etc/passwd",
    ] {
        let error = RedisServer::start(RedisOptions::default().program(program))
            .await
            .unwrap_err();
        assert!(matches!(error, BrokerError::Missing { .. }), "{error}");
        assert!(
            error.to_string().contains("apt-get install redis-server"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn restart_waits_for_its_port() -> Result<()> {
    let Some(server) = start(RedisOptions::default()).await? else {
        return Ok(());
    };
    let (addr, log) = (server.addr(), server.dir().join("redis.log"));
    server.kill().await?;
    let thief = std::net::TcpListener::bind(addr).unwrap();
    let freed = async {
        wait::until(SOON, "the port to be missed", async || {
            fs::read_to_string(&log)
                .unwrap()
                .contains("Address already in use")
        })
        .await?;
        drop(thief);
        Ok(())
    };
    tokio::try_join!(server.restart(), freed)?;
    assert_eq!(server.addr(), addr);
    server.cli(&["PING"]).await.map(|_| ())
}

/// Clients in every state of a connection do not keep a killed server's port.
#[tokio::test]
async fn restart_with_clients_around() -> Result<()> {
    let Some(server) = start(RedisOptions::default()).await? else {
        return Ok(());
    };
    for _ in 0..5 {
        let mut clients = Vec::new();
        for _ in 0..20 {
            clients.push(tokio::net::TcpStream::connect(server.addr()).await.unwrap());
        }
        server.cli(&["CLIENT", "KILL", "TYPE", "normal"]).await?;
        clients.truncate(10);
        server.kill().await?;
        server.restart().await?;
        server.cli(&["PING"]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_replica_behind_a_proxy_follows_and_falls_behind() -> Result<()> {
    let Some(primary) = start(RedisOptions::default().password("x")).await? else {
        return Ok(());
    };
    let proxy = Proxy::start(primary.addr()).await?;
    let follow = format!("replicaof 127.0.0.1 {}", proxy.port());
    let replica = RedisServer::start(RedisOptions::default().password("x").config(follow)).await?;
    primary.cli(&["SET", "key", "1"]).await?;
    let follows = async || matches!(replica.cli(&["GET", "key"]).await, Ok(Reply::Bulk(_)));
    wait::until(SOON, "the replica to follow", follows).await?;
    proxy.black_hole();
    primary.cli(&["SET", "key", "2"]).await?;
    assert_eq!(primary.cli(&["WAIT", "1", "300"]).await?, Reply::Int(0));
    assert_eq!(replica.cli(&["GET", "key"]).await?.text().unwrap(), "1");
    Ok(())
}

/// A test may move its server into a task.
#[test]
fn futures_can_be_spawned() {
    fn is_send<T: Send>(_: T) {}
    is_send(RedisServer::start(RedisOptions::default()));
    let _ = |server: RedisServer| {
        is_send(server.restart());
        is_send(server.wait_ready(SOON));
        is_send(server.kill());
        is_send(server.stop());
        is_send(server.freeze());
        is_send(server.cli(&["PING"]));
    };
}
