//! Does a server end with the test's process, however that ends?

#![allow(clippy::expect_used, reason = "what helps a test may fail it")]

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use potluck_brokers::{
    Result,
    redis::{RedisOptions, RedisServer},
    skip::or_skip,
    wait,
};

const SOON: Duration = Duration::from_secs(10);

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

/// Started as a process of its own by the tests below, which kill it.
const HOLD: &str = "BROKERS_TEST_HOLD";

/// Not a test by itself: in the process that is to be killed it starts a server and waits.
#[tokio::test]
async fn hold_a_server_when_told_to() -> Result<()> {
    let Some(told) = std::env::var_os(HOLD) else {
        return Ok(());
    };
    let server = RedisServer::start(RedisOptions::default()).await?;
    if told == "frozen" {
        server.freeze().await?;
    }
    let pid = server.pid().unwrap();
    fs::write(
        std::env::var_os("BROKERS_TEST_FILE").unwrap(),
        format!("{pid}\n"),
    )
    .unwrap();
    std::future::pending().await
}

async fn is_ended_with_its_test(state: &str, signal: &str) -> Result<()> {
    if or_skip(RedisServer::start(RedisOptions::default()).await)?.is_none() {
        return Ok(());
    }
    let temp = tempfile::tempdir().expect("a folder");
    let file = temp.path().join("pid");
    let mut test = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "hold_a_server_when_told_to"])
        .env(HOLD, state)
        .env("BROKERS_TEST_FILE", &file)
        // The folder that stays behind goes with this one.
        .env("TMPDIR", temp.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("this program again");
    let mut pid = 0;
    let held = wait::until(SOON, "the server's id", async || {
        let text = fs::read_to_string(&file).unwrap_or_default();
        pid = text
            .strip_suffix('\n')
            .map_or(0, |text| text.parse().expect("a number"));
        pid != 0
    })
    .await;
    let was_alive = is_alive(pid);
    let id = test.id().to_string();
    let killed = Command::new("kill").args([signal, &id]).status();
    let ended = wait::until(SOON, "the test to end", async || {
        !matches!(test.try_wait(), Ok(None))
    })
    .await;
    if ended.is_err() {
        test.kill().expect("a process that can be killed");
    }
    held.and(ended)?;
    assert!(was_alive && killed.expect("kill").success());
    wait::until(SOON, "the server to be dead", async || !is_alive(pid)).await
}

#[tokio::test]
async fn a_killed_test_ends_its_server() -> Result<()> {
    is_ended_with_its_test("running", "-KILL").await
}

#[tokio::test]
async fn a_killed_test_ends_its_frozen_server() -> Result<()> {
    is_ended_with_its_test("frozen", "-KILL").await
}

#[tokio::test]
async fn a_terminated_test_ends_its_server() -> Result<()> {
    // Not SIGINT, which a shell's background jobs ignore, and their children with them.
    is_ended_with_its_test("running", "-TERM").await
}
