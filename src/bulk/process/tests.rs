//! Programs that behave badly, each run for real.

use std::path::Path;
use std::time::Instant;

use super::*;

fn shell(script: &str) -> Program {
    Program {
        name: "the program".into(),
        executable: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
        variables: Vec::new(),
        inherited: Inherited::default(),
        hidden_variables: Vec::new(),
        input: None,
        output: Output::Stdout,
        secrets: Vec::new(),
        timeout: Duration::from_secs(600),
        install_hint: "Install it.".into(),
    }
}

async fn run(program: Program) -> Result<(String, Exit), Fault> {
    let shutdown = Shutdown::new();
    let (written, exit) = program.output(&shutdown, 1 << 20).await?;
    assert!(shutdown.finished(Duration::from_secs(60)).await, "its supervisor ends");
    Ok((String::from_utf8(written).unwrap(), exit))
}

/// Waits until no process has this number; a zombie counts as gone.
async fn gone(process: &str) {
    let status = Path::new("/proc").join(process.trim()).join("stat");
    let begun = Instant::now();
    loop {
        let is_gone = match std::fs::read_to_string(&status) {
            Ok(text) => text.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')),
            Err(_) => true,
        };
        if is_gone {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "process {process} is still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Reads until a line has arrived.
async fn line(running: &mut Running) -> String {
    let mut buffer = BytesMut::new();
    while !buffer.contains(&b'\n') {
        assert!(running.read(&mut buffer).await.unwrap(), "a line was expected");
    }
    String::from_utf8(buffer.to_vec()).unwrap()
}

#[tokio::test]
async fn output_and_exit_arrive_and_arguments_meet_no_shell() {
    let mut program = shell("printf '%s' \"$1\"; echo done >&2; exit 3");
    program.arguments.extend(["sh".into(), "a b; echo $HOME `id`".into()]);
    let (written, exit) = run(program).await.unwrap();
    assert_eq!(written, "a b; echo $HOME `id`");
    assert_eq!((exit.code(), exit.is_success()), (Some(3), false));
    assert_eq!(exit.describe(), "it ended with exit status: 3 and said: done");
}

#[tokio::test]
async fn what_is_written_into_a_named_pipe_arrives_without_a_file() {
    let folder = PrivateFolder::new().unwrap();
    let path = folder.join("data");
    let mut program =
        shell("i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done > \"$1\"; echo 20000 rows");
    program.arguments.extend(["sh".into(), path.display().to_string()]);
    program.output = Output::NamedPipe(path);
    let (written, exit) = run(program).await.unwrap();
    assert_eq!(written.len(), 20_000 * 11);
    assert!(exit.is_success());
    assert_eq!(exit.last_lines(), "20000 rows");
}

#[tokio::test]
async fn a_program_that_never_opens_its_pipe_ends_as_an_empty_output() {
    let folder = PrivateFolder::new().unwrap();
    let mut program = shell("exit 1");
    program.output = Output::NamedPipe(folder.join("data"));
    let (written, exit) = run(program).await.unwrap();
    assert_eq!((written.as_str(), exit.code()), ("", Some(1)));
}

#[tokio::test]
async fn a_program_that_puts_a_file_in_the_place_of_the_pipe_is_found_out() {
    let folder = PrivateFolder::new().unwrap();
    let path = folder.join("data");
    let mut program = shell("rm \"$1\"; echo row > \"$1\"");
    program.arguments.extend(["sh".into(), path.display().to_string()]);
    program.output = Output::NamedPipe(path);
    let (written, exit) = run(program).await.unwrap();
    assert_eq!(written, "");
    assert!(exit.last_lines().contains("cannot write to a pipe"), "{}", exit.last_lines());
}

#[tokio::test]
async fn a_flood_of_messages_neither_blocks_nor_fills_the_memory() {
    let script =
        "i=0; while [ $i -lt 200000 ]; do echo 'a message that nobody reads' >&2; i=$((i+1)); done; echo row";
    let (written, exit) = run(shell(script)).await.unwrap();
    assert_eq!(written, "row\n");
    assert!(exit.said.len() < 64 * 1024);
}

#[tokio::test]
async fn a_missing_program_is_named_with_the_way_to_get_it() {
    let mut program = shell("");
    program.executable = "/nowhere/bcp".into();
    let fault = run(program).await.unwrap_err();
    assert_eq!(fault.chain(), "start the program: there is no program `/nowhere/bcp`");
    assert_eq!((fault.kind(), fault.hint()), (FaultKind::Request, Some("Install it.")));
}

#[tokio::test]
async fn a_program_that_hangs_and_ignores_term_is_ended_with_its_children() {
    let mut program = shell("trap '' TERM; sleep 1000 & echo $! $$; wait; sleep 1000");
    // Long enough for the shell to get as far as that on a busy machine.
    program.timeout = Duration::from_secs(10);
    let shutdown = Shutdown::new();
    let mut running = program.start(&shutdown).unwrap();
    let processes = line(&mut running).await;
    let mut rest = BytesMut::new();
    while running.read(&mut rest).await.unwrap() {}
    let fault = running.end().await.unwrap_err();
    assert!(fault.chain().contains("it did not end within 10s"), "{}", fault.chain());
    assert_eq!(fault.kind(), FaultKind::Transient);
    for process in processes.split_whitespace() {
        gone(process).await;
    }
}

#[tokio::test]
async fn dropping_it_ends_the_whole_group() {
    let shutdown = Shutdown::new();
    let mut running = shell("sleep 1000 & echo $! $$; wait").start(&shutdown).unwrap();
    let processes = line(&mut running).await;
    drop(running);
    assert!(shutdown.finished(Duration::from_secs(60)).await, "a stop waits for the end of the program");
    for process in processes.split_whitespace() {
        gone(process).await;
    }
}

#[tokio::test]
async fn a_child_that_keeps_the_pipe_open_fails_the_run_and_does_not_stay() {
    let shutdown = Shutdown::new();
    let mut running = shell("sleep 1000 & echo $!; exit 0").start(&shutdown).unwrap();
    let child = line(&mut running).await;
    let fault = running.read(&mut BytesMut::new()).await.unwrap_err();
    assert!(fault.chain().contains("keeps its output open"), "{}", fault.chain());
    drop(running);
    gone(&child).await;
}

/// Its number is somebody else's sooner or later, so nothing may be waiting to end it.
#[tokio::test]
async fn a_group_that_is_gone_is_not_ended_again() {
    let shutdown = Shutdown::new();
    let mut running = shell("echo 1").start(&shutdown).unwrap();
    let mut written = BytesMut::new();
    while running.read(&mut written).await.unwrap() {}
    assert!(shutdown.finished(Duration::from_secs(60)).await, "its supervisor ends while it is still held");
    assert!(running.end().await.unwrap().is_success());
}

#[tokio::test]
async fn a_child_that_writes_now_and_then_or_always_is_not_read_for_ever() {
    let read = async |script: &str| {
        let shutdown = Shutdown::new();
        let mut running = shell(script).start(&shutdown).unwrap();
        let child = line(&mut running).await;
        let mut written = BytesMut::new();
        let fault = loop {
            written.clear();
            match running.read(&mut written).await {
                Ok(true) => {}
                Ok(false) => break running.end().await.unwrap_err(),
                Err(fault) => break fault,
            }
        };
        assert!(fault.chain().contains("keeps its output open"), "{}", fault.chain());
        gone(child.lines().next().unwrap()).await;
    };
    tokio::join!(
        read("(sleep 1; while :; do echo x; sleep 1; done) & echo $!; exit 0"),
        read("(sleep 1; while :; do echo x; done) & echo $!; exit 0")
    );
}

#[tokio::test]
async fn variables_of_the_agent_are_seen_by_those_that_may() {
    // Variables that cargo gives a test.
    let script = "echo ${CARGO_PKG_NAME:-nothing} ${PATH:+path} ${CARGO_PKG_VERSION_MAJOR:-nothing} ${OWN}";
    let printed = async |change: fn(&mut Program)| {
        let mut program = shell(script);
        program.variables.push(("OWN".into(), Secret::new("own")));
        change(&mut program);
        run(program).await.unwrap().0
    };
    assert_eq!(printed(|_| ()).await, "nothing path nothing own\n");
    let named = printed(|program| program.inherited.add(["CARGO_PKG_NAME"])).await;
    assert_eq!(named, "data-exchange-agent path nothing own\n");
    let all = printed(|program| {
        program.inherited = Inherited::All;
        program.hidden_variables.push("CARGO_PKG_NAME".into());
    });
    assert_eq!(all.await, format!("nothing path {} own\n", env!("CARGO_PKG_VERSION_MAJOR")));
}

#[tokio::test]
async fn input_reaches_it_and_secrets_are_masked_in_what_it_says() {
    let mut program = shell("read password; echo \"$password\" >&2; echo ${#password}");
    program.input = Some(Secret::new("hunter2\n"));
    program.secrets = vec![Secret::new("hunter2")];
    let (written, exit) = run(program).await.unwrap();
    assert_eq!((written.as_str(), exit.last_lines().as_str()), ("7\n", "***"));
}

#[tokio::test]
async fn a_private_folder_goes_away_and_nobody_else_may_look() {
    use std::os::unix::fs::PermissionsExt;
    let folder = PrivateFolder::new().unwrap();
    let file = folder.write("options", &Secret::new("[client]")).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    drop(folder);
    assert!(!file.parent().unwrap().exists());
}
