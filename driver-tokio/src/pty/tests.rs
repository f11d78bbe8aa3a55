//! Real children on real terminals.

use super::*;
use relay_core::time::Span;
use relay_core::{Text, TtyState, limits};
use relay_driver::clock::now;
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(20);
const P: ProcessId = ProcessId(1);

/// The loop of a driver without a core: collects what happened to one process.
struct Bench {
    ptys: Ptys,
    events: UnboundedReceiver<Event>,
    output: Vec<u8>,
    written: Vec<(u64, usize, Option<FaultKind>)>,
    state: Option<Option<TtyState>>,
    exit: Option<ExitStatus>,
    ends: usize,
}

impl Bench {
    async fn start(argv: &[&str]) -> Self {
        Self::start_child(child(argv)).await
    }

    async fn start_child(child: Child) -> Self {
        let (bench, result) = Self::try_start(child).await;
        result.unwrap();
        bench
    }

    async fn try_start(child: Child) -> (Self, Result<u32, Failure>) {
        let (inbox, events) = Inbox::new();
        let mut bench = Self {
            ptys: Ptys::new(inbox),
            events,
            output: Vec::new(),
            written: Vec::new(),
            state: None,
            exit: None,
            ends: 0,
        };
        bench.ptys.spawn(P, child, in_secs(10));
        let mut event = timeout(LIMIT, bench.events.recv()).await.unwrap().unwrap();
        bench.ptys.settle(&mut event);
        let Event::Spawned { result, .. } = event else { panic!("{event:?}") };
        (bench, result.map(|started| started.id()))
    }

    fn take(&mut self, mut event: Event) {
        self.ptys.settle(&mut event);
        match event {
            Event::PtyOutput { bytes, .. } => self.output.extend(bytes),
            Event::PtyWritten { op, written, failure, .. } => {
                self.written.push((op.0, written, failure.map(|failure| failure.kind)));
            }
            Event::PtyState { state, .. } => self.state = Some(state),
            Event::PtyExited { status, .. } => {
                assert!(self.exit.replace(status).is_none(), "exits are reported once");
            }
            Event::PtyEof { .. } => self.ends += 1,
            other => panic!("{other:?}"),
        }
    }

    async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !done(self) {
                let event = self.events.recv().await.unwrap();
                self.take(event);
            }
        };
        if timeout(LIMIT, waiting).await.is_err() {
            let text = self.text();
            panic!(
                "no {what}; {} bytes of output begin with {:?}",
                text.len(),
                text.get(..200).unwrap_or(&text)
            );
        }
    }

    async fn shows(&mut self, text: &str) {
        self.until(text, |bench| bench.text().contains(text)).await;
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    fn write(&self, op: u64, bytes: &[u8], deadline: Mono) {
        self.ptys.write(P, OpId(op), bytes.to_vec(), deadline);
    }

    /// Looks until what is seen satisfies `done`.
    async fn looks(&mut self, what: &str, done: impl Fn(&TtyState) -> bool) {
        let started = Instant::now();
        loop {
            self.state = None;
            self.ptys.check(P, OpId(0));
            self.until("state", |bench| bench.state.is_some()).await;
            match self.state.flatten() {
                Some(state) if done(&state) => return,
                state => assert!(started.elapsed() < LIMIT, "never {what}: {state:?}"),
            }
            tokio::task::yield_now().await;
        }
    }
}

fn child(argv: &[&str]) -> Child {
    Child {
        argv: argv.iter().map(ToString::to_string).collect(),
        env: Vec::new(),
        env_remove: Vec::new(),
        cwd: None,
        rows: limits::ROWS,
        cols: limits::COLS,
    }
}

fn sh(script: &str) -> [&str; 3] {
    ["sh", "-c", script]
}

fn in_secs(secs: u64) -> Mono {
    now().mono.after(Span::secs(secs))
}

#[tokio::test]
async fn what_is_written_is_echoed_and_read_by_the_child() {
    let mut bench = Bench::start(&["cat"]).await;
    bench.write(1, b"hello\n", in_secs(10));
    bench.shows("hello\r\nhello\r\n").await;
    assert_eq!(bench.written, [(1, 6, None)]);
    assert_eq!((bench.exit, bench.ends), (None, 0));
}

#[tokio::test]
async fn sixty_four_kilobytes_pass_through_cat_whole_and_in_order() {
    let script = "stty -echo -icanon -opost; printf ready; exec cat";
    let mut bench = Bench::start(&sh(script)).await;
    bench.shows("ready").await;
    bench.output.clear();
    let sent: Vec<u8> = (0..limits::PTY_CREDIT).map(|i| b'a' + (i % 26) as u8).collect();
    for (op, part) in sent.chunks(limits::PTY_WRITE).enumerate() {
        bench.write(op as u64, part, in_secs(15));
    }
    bench.until("all bytes", |bench| bench.output.len() >= sent.len()).await;
    assert!(bench.output == sent, "bytes were changed");
    let order: Vec<u64> = bench.written.iter().map(|(op, ..)| *op).collect();
    assert_eq!(order, (0..16).collect::<Vec<_>>());
    assert!(bench.written.iter().all(|(_, written, fault)| *written == limits::PTY_WRITE && fault.is_none()));
}

#[tokio::test]
async fn a_full_terminal_ends_a_write_at_its_deadline_with_what_was_accepted() {
    let mut bench = Bench::start(&sh("stty -icanon -echo; echo ready; exec sleep 1000")).await;
    bench.shows("ready").await;
    let big = vec![b'x'; limits::PTY_CREDIT];
    bench.write(1, &big, now().mono.after(Span::millis(200)));
    bench.write(2, b"y", now().mono.after(Span::millis(200)));
    bench.until("two answers", |bench| bench.written.len() == 2).await;
    let (op, accepted, fault) = bench.written[0];
    assert_eq!((op, fault), (1, Some(FaultKind::Deadline)));
    assert!(accepted > 0 && accepted < big.len(), "{accepted}");
    assert_eq!(bench.written[1], (2, 0, Some(FaultKind::Deadline)));
}

#[tokio::test]
async fn unread_input_and_modes_are_seen() {
    let mut bench = Bench::start(&sh("echo ready; exec sleep 1000")).await;
    bench.shows("ready").await;
    bench.looks("canonical and empty", |s| s.canonical && s.echo && s.unread == 0).await;
    bench.write(1, b"one line\n", in_secs(10));
    bench.looks("nine unread bytes", |s| s.unread == 9).await;

    let mut raw = Bench::start(&sh("stty -icanon -echo; echo ready; head -c 2; exec sleep 1000")).await;
    raw.shows("ready").await;
    raw.write(1, b"abcd", in_secs(10));
    raw.looks("raw", |s| !s.canonical && !s.echo).await;
    raw.until("write", |bench| bench.written.len() == 1).await;
    raw.looks("nothing more than what head left", |s| s.unread <= 2).await;
}

#[tokio::test]
async fn what_was_written_is_unread_from_the_moment_of_the_write() {
    let mut bench = Bench::start(&sh("stty -icanon -echo; echo ready; exec sleep 1000")).await;
    bench.shows("ready").await;
    for count in 1..=500 {
        bench.write(count as u64, b"x", in_secs(10));
        bench.until("write", |bench| bench.written.len() == count).await;
        bench.state = None;
        bench.ptys.check(P, OpId(0));
        bench.until("state", |bench| bench.state.is_some()).await;
        let state = bench.state.flatten().expect("the terminal is there");
        assert_eq!(state.unread, 1, "write {count}");
        let master = bench.ptys.tty(P).unwrap().master.get_ref();
        let slave = ioctl_tiocgptpeer(master, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        rustix::termios::tcflush(slave, rustix::termios::QueueSelector::IFlush).unwrap();
    }
}

#[tokio::test]
async fn looking_at_a_terminal_does_not_hide_its_end() {
    let mut bench = Bench::start(&sh("read line; exit 3")).await;
    for op in 0..50 {
        bench.ptys.check(P, OpId(op));
    }
    bench.write(1, b"\n", in_secs(10));
    bench.until("exit and end", |bench| bench.exit.is_some() && bench.ends == 1).await;
    assert_eq!(bench.exit, Some(ExitStatus::Code(3)));
    bench.state = None;
    bench.ptys.check(P, OpId(99));
    bench.until("an answer", |bench| bench.state.is_some()).await;
    assert_eq!(bench.state, Some(None), "the terminal is gone");
    bench.write(2, b"late", in_secs(10));
    bench.until("an answer", |bench| bench.written.len() == 2).await;
    assert_eq!(bench.written[1], (2, 0, Some(FaultKind::Broken)));
    assert!(bench.ptys.table.is_empty(), "nothing is kept of a dead child");
}

#[tokio::test]
async fn the_last_output_comes_before_the_end() {
    let mut bench = Bench::start(&sh("printf 'last words'")).await;
    bench.until("exit and end", |bench| bench.exit.is_some() && bench.ends == 1).await;
    assert_eq!(bench.text(), "last words");
    assert_eq!(bench.exit, Some(ExitStatus::Code(0)));
}

#[tokio::test]
async fn signals_reach_the_whole_process_group() {
    let script = "sleep 1000 & echo child $!; wait";
    let mut bench = Bench::start(&sh(script)).await;
    bench.shows("child").await;
    bench.ptys.signal(P, PtySignal::Terminate);
    bench.until("exit and end", |bench| bench.exit.is_some() && bench.ends == 1).await;
    assert!(matches!(bench.exit, Some(ExitStatus::Signal(1 | 15))), "{:?}", bench.exit);
}

#[tokio::test]
async fn a_child_that_ignores_politeness_is_killed() {
    let script = "trap '' HUP TERM; echo ready; while :; do sleep 1000; done";
    let mut bench = Bench::start(&sh(script)).await;
    bench.shows("ready").await;
    bench.ptys.signal(P, PtySignal::Terminate);
    bench.ptys.signal(P, PtySignal::Kill);
    bench.until("exit", |bench| bench.exit.is_some()).await;
    assert_eq!(bench.exit, Some(ExitStatus::Signal(9)));
    bench.ptys.signal(P, PtySignal::Kill);
}

#[tokio::test]
async fn a_grandchild_that_keeps_the_terminal_does_not_hide_the_exit() {
    let script = "trap '' HUP; setsid sleep 1000 & echo grandchild $!.; exit 7";
    let mut bench = Bench::start(&sh(script)).await;
    bench.until("exit", |bench| bench.exit.is_some() && bench.output.contains(&b'.')).await;
    assert_eq!((bench.exit, bench.ends), (Some(ExitStatus::Code(7)), 0));
    bench.ptys.forget(P);
    assert!(bench.ptys.table.is_empty());
    let text = bench.text();
    let pid = text.split(['.', ' ']).nth(1).and_then(|pid| Pid::from_raw(pid.parse().ok()?));
    rustix::process::kill_process(pid.expect(&text), Signal::KILL).expect("it lives");
}

#[tokio::test]
async fn a_forgotten_terminal_still_reports_the_exit() {
    let mut bench = Bench::start(&["cat"]).await;
    bench.ptys.forget(P);
    // The master closes, so the kernel hangs up on the child.
    bench.until("exit", |bench| bench.exit.is_some()).await;
    assert_eq!((bench.exit, bench.ends), (Some(ExitStatus::Signal(1)), 0));
}

#[tokio::test]
async fn the_environment_is_cleaned_first_and_set_in_order_and_the_size_is_as_asked() {
    let mut wanted = child(&sh("echo [$HOME][$DUP][$KEY][${PATH:+path}]; stty size; pwd"));
    wanted.env_remove = vec!["HOME".into()];
    let plain = |key: &str, value: &str| (key.to_owned(), Text::Plain(value.to_owned()));
    let key = Text::Secret(relay_core::Secret::new("rk_live_x").unwrap());
    wanted.env = vec![plain("DUP", "one"), plain("DUP", "two"), ("KEY".into(), key)];
    wanted.cwd = Some("/usr".into());
    (wanted.rows, wanted.cols) = (31, 97);
    let mut bench = Bench::start_child(wanted).await;
    bench.until("exit and end", |bench| bench.exit.is_some() && bench.ends == 1).await;
    assert_eq!(bench.text(), "[][two][rk_live_x][path]\r\n31 97\r\n/usr\r\n");
}

#[tokio::test]
async fn a_resize_reaches_the_child() {
    let mut bench =
        Bench::start(&sh("trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.05; done")).await;
    bench.shows("ready").await;
    bench.ptys.resize(P, 50, 132);
    bench.shows("50 132").await;
}

#[tokio::test]
async fn no_descriptor_leaks_into_a_child() {
    let (first, mut second) = (Bench::start(&["cat"]).await, Bench::start(&["ls", "/proc/self/fd"]).await);
    second.until("exit and end", |bench| bench.exit.is_some() && bench.ends == 1).await;
    // 3 is the directory that ls reads.
    assert_eq!(second.text().split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
    drop(first);
}

#[tokio::test]
async fn what_cannot_be_started_is_refused_with_the_reason() {
    let mut nowhere = child(&["cat"]);
    nowhere.cwd = Some("/no/such/place".into());
    let cases = [
        (child(&["no-such-program-anywhere"]), "no such program in PATH"),
        (child(&["/no/such/program"]), "/no/such/program"),
        (nowhere, "/no/such/place"),
    ];
    for (child, word) in cases {
        let (bench, result) = Bench::try_start(child).await;
        let failure = result.unwrap_err();
        assert_eq!(failure.kind, FaultKind::NotFound, "{failure:?}");
        assert!(failure.detail.contains(word) && !failure.detail.contains('\n'), "{failure:?}");
        assert!(bench.ptys.table.is_empty());
    }
}

#[tokio::test]
async fn output_waits_in_the_kernel_while_nobody_takes_it() {
    let bench = Bench::start(&["yes"]).await;
    let full = timeout(LIMIT, async {
        while bench.ptys.room.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
    });
    full.await.expect("the permits run out");
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(bench.events.len() <= CHUNKS, "{} chunks wait", bench.events.len());
    bench.ptys.signal(P, PtySignal::Kill);
}

#[tokio::test]
async fn a_child_has_the_descriptor_limit_that_the_broker_was_started_with() {
    let before = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    relay_driver::descriptors::raise_limit();
    // The limit is set a moment after the start: the child is asked only then.
    let mut bench = Bench::start(&sh("read line; ulimit -n")).await;
    bench.write(1, b"\n", in_secs(10));
    bench.until("exit and end", |bench| bench.exit.is_some() && bench.ends == 1).await;
    let before = before.map_or_else(|| "unlimited".into(), |limit| limit.to_string());
    assert_eq!(bench.text().trim(), before);
}

#[test]
fn a_child_that_starts_too_late_is_killed() {
    let mut one_thread = tokio::runtime::Builder::new_current_thread();
    one_thread.enable_all().max_blocking_threads(1);
    let dir = tempfile::tempdir().unwrap();
    let living_there = || {
        let processes = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path().join("cwd"));
        processes.filter(|cwd| std::fs::read_link(cwd).is_ok_and(|cwd| cwd == dir.path())).count()
    };
    one_thread.build().unwrap().block_on(async {
        let (inbox, mut events) = Inbox::new();
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || blocked.recv());
        let mut late = child(&["sleep", "1000"]);
        late.cwd = Some(dir.path().to_str().unwrap().into());
        Ptys::new(inbox).spawn(P, late, now().mono.after(Span::millis(20)));
        let event = timeout(LIMIT, events.recv()).await.unwrap().unwrap();
        let Event::Spawned { result: Err(failure), .. } = event else { panic!("{event:?}") };
        assert_eq!(failure.kind, FaultKind::Deadline);
        drop(release);
        // The only thread works in order: the start, its end, and then some of these.
        for _ in 0..10 {
            tokio::task::spawn_blocking(|| ()).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert!(events.try_recv().is_err(), "nothing else is said");
    });
    assert_eq!(living_there(), 0);
}
