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
        "publish",
        "consume",
        "tail",
        "serve",
        "declare",
        "status",
        "doctor",
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
        &["publish", "--help"],
        &["consume", "--help"],
        &["tail", "-h"],
        &["serve", "--help"],
        &["declare", "--help"],
        &["status", "--help"],
        &["doctor", "--help"],
        &["--version"],
    ] {
        let help = run(args);
        assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""), "{args:?}");
        assert!(!help.stdout.contains('\u{1b}'), "{args:?}");
        let on_a_broker = [
            "publish", "consume", "tail", "serve", "declare", "status", "doctor",
        ];
        if on_a_broker.contains(&args[0]) {
            assert!(help.stdout.contains("Example:\n  potluck "), "{args:?}");
        }
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
        (&["publish"], "<TOPIC>"),
        (&["publish", "free food"], "invalid value 'free food'"),
        (&["publish", "t.g.dead"], "written by the runtime only"),
        (&["consume", "t"], "--group <GROUP>"),
        (&["consume", "t", "-g", "a.b"], "invalid value 'a.b'"),
        (&["consume", "t", "-g", "g", "--max", "0"], "'--max <N>'"),
        (
            &["consume", "t", "-g", "g", "--idle", "5"],
            "such as 500ms or 5s",
        ),
        (
            &["tail", "t", "-o", "yaml"],
            "possible values: json, raw, pretty",
        ),
        (
            &["status", "t", "-g", "g", "-o", "raw"],
            "possible values: json, pretty",
        ),
        (
            &["declare", "t", "-g", "g", "--start", "0"],
            "possible values: earliest, new",
        ),
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
        ("http://h", "scheme=http, schemes=redis:, rediss:, memory:"),
        ("amqp://h", "schemes=redis:, rediss:, memory:"),
        ("amqps://h", "schemes=redis:"),
        ("kafka://h1,h2", "schemes=redis:"),
        ("redis://h1,h2", "has one host"),
        ("redis://h/first", "the database's number"),
        ("redis://u@h", "a user needs a password"),
        (
            "redis://h?leese=1s",
            "option=leese, options=block, field, keep, lease",
        ),
        ("redis://h?lease=1", "option=lease"),
        (
            "memory:?leese=1s",
            "option=leese, options=max_bytes, max_messages",
        ),
        ("memory:?max_messages=many", "option=max_messages"),
        ("memory:#x", "fragment"),
        ("@/no/such/file", "there is no such file"),
        (&empty, "is empty; write the broker's URL"),
    ] {
        let is_built = |scheme: &str, built: bool| built || !url.starts_with(scheme);
        if !is_built("memory", cfg!(feature = "memory"))
            || !is_built("redis", cfg!(feature = "redis"))
        {
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
        (&["demo", "--url", "memory:"][..], "amqp://a", "amqp://b", 0),
        (&["--url=memory:", "demo"], "amqp://a", "amqp://b", 0),
        (&["demo"], "memory:", "amqp://b", 0),
        (&["demo"], "amqp://a", "memory:", 78),
        (&["demo"], "", "amqp://b", 78),
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
        demo(&["demo"], "memory:", "amqp://b")
            .stderr
            .starts_with("warning: POTLUCK_URL and REDIS_URL differ; POTLUCK_URL counts")
    );
    assert_eq!(demo(&["demo"], "memory:", "memory:").stderr, "");
    assert_eq!(demo(&["-q", "demo"], "memory:", "amqp://b").stderr, "");

    let (_dir, path) = file("url", "memory:?max_messages=1000\r\nignored\n");
    assert_eq!(run(&["-u", &format!("@{path}"), "demo"]).code, Some(0));
}

#[test]
fn what_needs_a_broker_says_so_when_none_is_named() {
    for args in [
        &["publish", "t", "-"][..],
        &["publish", "t"],
        &["consume", "t", "-g", "g"],
        &["tail", "t"],
        &["declare", "t", "-g", "g"],
        &["status", "t", "-g", "g"],
        &["doctor"],
    ] {
        let ran = finish(command(args).env("POTLUCK_URL", "").env("REDIS_URL", ""));
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{args:?}");
        let says = "error: no broker is named; give its URL, such as -u redis://localhost:6379";
        assert!(ran.stderr.starts_with(says), "{args:?}: {}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{args:?}");
    }
}

#[cfg(feature = "memory")]
#[test]
fn a_broker_in_memory_serves_all_and_says_that_it_ends() {
    let memory = ["-u", "memory:"];
    for (args, code) in [
        (&["publish", "t", "-"][..], 0),
        (&["consume", "t", "-g", "g", "--idle", "10ms"], 0),
        (&["tail", "t"], 1),
        (&["declare", "t", "-g", "g"], 0),
        (&["status", "t", "-g", "g"], 1),
        (&["doctor"], 0),
    ] {
        let args = [&memory, args].concat();
        let ran = common::run_with(&args, VALID.as_bytes());
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.stderr);
        let says = "note: this broker is in the memory of this process and ends with it\n";
        assert!(ran.stderr.starts_with(says), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn no_error_shows_a_password() {
    let (_dir, path) = file("url", "redis://u:canary@h?password=canary\n");
    let at_path = format!("@{path}");
    for url in [
        "redis://u:canary@h.invalid:6379/0?timeout=20ms",
        "redis://:canary@h.invalid?timeout=20ms",
        "amqp://u:canary@h/%2F",
        "kafka://h?password=canary",
        "memory://u:canary@h",
        "redis://u:canary@h:port",
        "redis://u:canary%@h",
        "redis://u:can'canary y@h.invalid?timeout=20ms",
        "redis:u:canary@h.invalid?timeout=20ms",
        "redis://u:canary@h#x",
        "REDIS://u:canary@h.invalid?timeout=20ms",
        "redis://u:ca\u{1b}canary@h.invalid?timeout=20ms",
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
            &["publish", url],
            &["publish", "t", url],
            &["publish", "t", "--profile", url],
            &["-u", url, "consume", "t", "-g", url],
            &["-u", url, "consume", "t", "-g", "g", "--member", url],
            &["-u", url, "consume", "t", "-g", "g", "--idle", url],
            &["-u", url, "tail", "t", "--max", url],
            &["-u", url, "status", url, "-g", "g"],
            &["-u", url, "doctor", "-o", url],
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
            assert!(matches!(ran.code, Some(69 | 78)), "{name}={url}: {ran:?}");
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
