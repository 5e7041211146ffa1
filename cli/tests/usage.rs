//! Is a wrong command line answered with what is wrong, the right exit code, and no secret?

#![allow(clippy::unwrap_used, reason = "what helps a test may fail it")]

mod common;

use common::{VALID, command, file, finish, run, run_unread};

#[test]
fn help_names_commands_options_and_exit_codes() {
    let help = run(&["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    for text in [
        "demo",
        "validate",
        "schema",
        "completions",
        "--url <URL>",
        "[env: POTLUCK_URL]",
        "REDIS_URL",
        "--color <WHEN>",
        "--quiet",
        "--verbose",
        "65 bad data",
        "78 bad configuration",
    ] {
        assert!(help.stdout.contains(text), "{text}");
    }
    for args in [
        &["help", "demo"][..],
        &["demo", "--help"],
        &["validate", "-h"],
        &["schema", "--help"],
        &["schema", "diff", "--help"],
        &["completions", "--help"],
        &["--version"],
    ] {
        let help = run(args);
        assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""), "{args:?}");
        assert!(!help.stdout.contains('\u{1b}'), "{args:?}");
    }
    let no_command = run(&[]);
    assert_eq!((no_command.code, no_command.stdout.as_str()), (Some(2), ""));
    assert!(no_command.stderr.contains("Usage: potluck"));
}

#[test]
fn help_does_not_show_the_url_of_the_environment() {
    let help = finish(command(&["--help"]).env("POTLUCK_URL", "redis://u:canary@h"));
    assert!(help.stdout.contains("POTLUCK_URL") && !help.stdout.contains("canary"));
}

#[test]
fn each_wrong_command_line_says_what_is_wrong() {
    for (args, says) in [
        (&["dmeo"][..], "similar subcommand exists: 'demo'"),
        (
            &["demo", "--flie", "x"],
            "similar argument exists: '--file'",
        ),
        (&["demo", "-x"], "unexpected argument '-x'"),
        (&["demo", "extra"], "unexpected argument 'extra'"),
        (
            &["demo", "--file"],
            "a value is required for '--file <FILE>'",
        ),
        (&["demo", "-u"], "a value is required for '--url <URL>'"),
        (
            &["demo", "-u", "memory:", "-u", "memory:"],
            "cannot be used multiple times",
        ),
        (&["demo", "-q", "-v"], "cannot be used with"),
        (
            &["--color", "sometimes", "demo"],
            "possible values: auto, always, never",
        ),
        (
            &["validate", "--profile", "producr"],
            "similar value exists: 'producer'",
        ),
        (&["schema"], "Usage: potluck schema"),
        (&["schema", "export"], "<DIR>"),
        (&["schema", "diff", "one"], "<NEW>"),
        (&["completions"], "<SHELL>"),
        (&["completions", "csh"], "possible values: bash"),
    ] {
        let ran = run(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(ran.stderr.contains(says), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn each_bad_url_is_bad_configuration_in_one_line() {
    let (_dir, empty) = file("url", "\n");
    let empty = format!("@{empty}");
    for (url, says) in [
        ("localhost", "begins with a scheme"),
        ("://h", "begins with a scheme"),
        ("http://h", "scheme=http, schemes=memory:"),
        ("redis://h", "scheme=redis, schemes=memory:"),
        ("rediss://h", "schemes=memory:"),
        ("amqp://h", "schemes=memory:"),
        ("amqps://h", "schemes=memory:"),
        ("kafka://h1,h2", "schemes=memory:"),
        (
            "memory:?leese=1s",
            "option=leese, options=max_bytes, max_messages",
        ),
        ("memory:?max_messages=many", "option=max_messages"),
        ("memory:#x", "fragment"),
        ("@/no/such/file", "there is no such file"),
        (&empty, "is empty; write the broker's URL"),
    ] {
        if url.starts_with("memory") && !cfg!(feature = "memory") {
            continue;
        }
        let ran = run(&["-u", url, "demo"]);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (Some(78), ""),
            "{url}: {}",
            ran.stderr
        );
        assert!(ran.stderr.contains(says), "{url}: {}", ran.stderr);
        assert!(
            ran.stderr.starts_with("error: ") && ran.stderr.lines().count() == 1,
            "{}",
            ran.stderr
        );
    }
}

#[cfg(not(feature = "memory"))]
#[test]
fn what_is_not_compiled_in_is_named_with_its_feature() {
    let ran = run(&["demo"]);
    assert_eq!(ran.code, Some(78));
    assert!(ran.stderr.contains("feature=memory"), "{}", ran.stderr);
}

#[cfg(feature = "memory")]
#[test]
fn the_url_comes_from_the_flag_then_the_variables_then_a_file() {
    let demo = |args: &[&str], ours: &str, theirs: &str| {
        let (args, ours, theirs) = (args.to_vec(), ours.to_owned(), theirs.to_owned());
        finish(
            command(&args)
                .env("POTLUCK_URL", ours)
                .env("REDIS_URL", theirs),
        )
    };
    for (args, ours, theirs, code) in [
        (
            &["demo", "--url", "memory:"][..],
            "redis://a",
            "redis://b",
            0,
        ),
        (&["--url=memory:", "demo"], "redis://a", "redis://b", 0),
        (&["demo"], "memory:", "redis://b", 0),
        (&["demo"], "redis://a", "memory:", 78),
        (&["demo"], "", "redis://b", 78),
        (&["demo"], "", "memory://named", 0),
        (&["demo"], "", "", 0),
    ] {
        assert_eq!(
            demo(args, ours, theirs).code,
            Some(code),
            "{args:?} {ours} {theirs}"
        );
    }
    assert!(
        demo(&["demo"], "memory:", "redis://b")
            .stderr
            .contains("POTLUCK_URL counts")
    );
    assert_eq!(demo(&["demo"], "memory:", "memory:").stderr, "");
    assert_eq!(demo(&["-q", "demo"], "memory:", "redis://b").stderr, "");

    let (_dir, path) = file("url", "memory:?max_messages=1000\r\nignored\n");
    assert_eq!(run(&["-u", &format!("@{path}"), "demo"]).code, Some(0));
}

#[test]
fn no_error_shows_a_password() {
    let (_dir, path) = file("url", "redis://u:canary@h?password=canary\n");
    let at_path = format!("@{path}");
    for url in [
        "redis://u:canary@h:6379/0",
        "redis://:canary@h",
        "amqp://u:canary@h/%2F",
        "kafka://h?password=canary",
        "memory://u:canary@h",
        "redis://u:canary@h:port",
        "redis://u:canary%@h",
        "redis://u:can'canary y@h",
        "redis:u:canary@h",
        "redis://u:canary@h#x",
        "REDIS://u:canary@h",
        "redis://u:ca\u{1b}canary@h",
        &at_path,
    ] {
        let inline = format!("--url={url}");
        let short = format!("-u{url}");
        for args in [
            &["-u", url, "demo"][..],
            &[&inline, "demo"],
            &[&short, "demo"],
            &["demo", "-u", url],
            &["demo", url],
            &[url],
            &["demo", "--file", url],
            &["validate", url],
            &["validate", "--profile", url],
            &["--color", url, "demo"],
            &["schema", "check", url],
            &["schema", "diff", url, url],
            &["schema", url],
            &["completions", url],
            &["-u", url, "demo", "-x"],
            &["-u", url, "-u", url, "demo"],
        ] {
            let ran = run(args);
            assert_ne!(ran.code, Some(0), "{args:?}");
            assert!(!format!("{ran:?}").contains("canary"), "{args:?}: {ran:?}");
        }
        for name in ["POTLUCK_URL", "REDIS_URL"] {
            if url.contains('\u{1b}') {
                continue;
            }
            let ran = finish(command(&["demo"]).env(name, url));
            assert_eq!(ran.code, Some(78), "{name}={url}");
            assert!(!format!("{ran:?}").contains("canary"), "{ran:?}");
        }
    }
}

#[test]
fn completions_are_written_for_each_shell() {
    for (shell, says) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef potluck"),
        ("fish", "complete -c potluck"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "edit:completion"),
    ] {
        let ran = run(&["completions", shell]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{shell}");
        assert!(
            ran.stdout.contains(says) && ran.stdout.contains("validate"),
            "{shell}"
        );
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let (_dir, path) = file("m.jsonl", format!("{VALID}\nbad\n"));
    let dir = tempfile::tempdir().unwrap();
    let export = dir.path().to_str().unwrap();
    for args in [
        &["--help"][..],
        &["--version"],
        &["validate", "--help"],
        &["completions", "bash"],
        &["validate", &path],
        &["schema", "export", export],
    ] {
        let ran = run_unread(args);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{args:?}");
    }
    #[cfg(feature = "memory")]
    assert_eq!(run_unread(&["demo"]).code, Some(0));
}

#[cfg(all(target_os = "linux", feature = "memory"))]
#[test]
fn an_output_that_cannot_be_written_is_an_error() {
    let (_dir, path) = file("m.jsonl", VALID);
    for args in [
        &["--help"][..],
        &["completions", "bash"],
        &["validate", &path],
        &["demo"],
    ] {
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let ran = finish(command(args).stdout(full));
        assert_eq!(ran.code, Some(1), "{args:?}");
        assert!(
            ran.stderr.contains("error: cannot write standard output"),
            "{}",
            ran.stderr
        );
    }
}
