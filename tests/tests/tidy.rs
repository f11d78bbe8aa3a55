//! The shape of the project: who may depend on whom, what must not stand where, and what lies where.

use relay_tests::binary::Driver;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of a source file. Beyond it a file has more than one subject.
const LINES: usize = 620;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// All files of this extension below a folder of the project.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|other| other == extension) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has no .{extension} files");
    found.sort();
    found
}

/// Lines of code below a folder that `wrong` finds, each with its place. Comments are not looked at.
fn offences(folder: &str, wrong: impl Fn(&str) -> bool) -> Vec<String> {
    let mut offences = Vec::new();
    for path in files(folder, "rs") {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if wrong(code) {
                offences.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    offences
}

/// What cargo knows of the packages.
fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Names of the dependencies of a package that are there for all builds of it.
fn dependencies(package: &str) -> BTreeSet<String> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|other| other["name"] == package).unwrap();
    let normal = package["dependencies"].as_array().unwrap().iter();
    normal
        .filter(|dependency| dependency["kind"].is_null())
        .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
        .collect()
}

fn ours(package: &str) -> Vec<String> {
    let all = dependencies(package).into_iter();
    all.filter(|name| name.starts_with("relay-")).collect()
}

#[test]
fn the_packages_are_a_star_around_the_core() {
    assert!(ours("relay-core").is_empty());
    assert_eq!(ours("relay-sim"), ["relay-core"]);
    assert_eq!(ours("relay-driver"), ["relay-core"]);
    assert_eq!(ours("relay-driver-smol"), ["relay-core", "relay-driver"]);
    assert_eq!(ours("relay-driver-tokio"), ["relay-core", "relay-driver", "relay-sim"]);
}

#[test]
fn what_drivers_share_has_no_runtime() {
    let runtimes = ["async-io", "futures-util", "smol", "tokio", "tokio-tungstenite"];
    let found = dependencies("relay-driver");
    assert!(runtimes.iter().all(|runtime| !found.contains(*runtime)), "{found:?}");
}

/// hyper uses the channels of tokio; they need no runtime.
#[test]
fn the_smol_driver_has_no_tokio_but_its_channels() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--package", "relay-driver-smol", "--edges", "normal", "--prefix", "none"])
        .args(["--format", "{p}:{f}", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(tree.contains("hyper v"), "{tree}");
    let is_tokio = |line: &&str| line.starts_with("tokio") || line.contains("-tokio");
    let found: BTreeSet<&str> = tree.lines().filter(is_tokio).collect();
    let is_allowed = |line: &&str| {
        let (package, features) = line.split_once(':').unwrap_or((line, ""));
        package.starts_with("tokio v")
            && ["default,sync", "sync"].contains(&features.trim_end_matches(" (*)"))
    };
    assert!(found.iter().all(is_allowed), "{found:?}");
}

#[test]
fn the_core_has_few_dependencies() {
    let allowed = ["serde", "serde_json", "sha2", "thiserror", "vt100"];
    let found: Vec<_> = dependencies("relay-core").into_iter().collect();
    assert_eq!(found, allowed);
}

#[test]
fn the_core_asks_nothing_of_an_operating_system() {
    let mut found = offences("core/src", |code| code.contains("std::") || code.contains("extern crate std"));
    // Tests read fixtures.
    found.retain(|place| !place.contains("/tests.rs:"));
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn nothing_is_unsafe() {
    for folder in ["core", "sim", "driver", "driver-smol", "driver-tokio", "tests/src"] {
        let is_unsafe = |code: &str| ["unsafe ", "unsafe{"].iter().any(|word| code.contains(word));
        let found = offences(folder, is_unsafe);
        assert!(found.is_empty(), "{found:#?}");
    }
}

/// What the list of canaries says of each.
fn words_of_canaries() -> Vec<String> {
    let source = fs::read_to_string(root().join("core/src/canary.rs")).unwrap();
    let list = source.split_once("canaries! {").unwrap().1.split_once("\n    }").unwrap().0;
    let words: Vec<String> = list.split('"').skip(1).step_by(2).map(String::from).collect();
    assert!(words.len() >= 40, "a name and a sentence for each: {words:?}");
    words
}

/// The simulator, built with these flags in this directory of the project.
fn simulator(flags: &str, target: &str) -> Vec<u8> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = root().join(target);
    let status = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--package", "relay-sim", "--bin", "relay-sim"])
        .arg("--target-dir")
        .arg(&target)
        .env("RUSTFLAGS", flags)
        .current_dir(root())
        .status()
        .unwrap();
    assert!(status.success(), "the simulator does not build with {flags:?}");
    fs::read(target.join("release/relay-sim")).unwrap()
}

#[test]
fn no_build_but_their_own_has_a_canary() {
    let words = words_of_canaries();
    let found = |program: Vec<u8>| {
        let text = String::from_utf8_lossy(&program).into_owned();
        words.iter().filter(|word| text.contains(word.as_str())).cloned().collect::<Vec<_>>()
    };
    assert_eq!(found(simulator("--cfg canary", "target/canary")), words);
    let none: [String; 0] = [];
    assert_eq!(found(simulator("", "target")), none);
    for broker in ["tokio", "smol"] {
        assert_eq!(found(fs::read(Driver::ours(broker).program).unwrap()), none, "{broker}");
    }
}

#[test]
fn no_package_has_canaries_as_a_feature() {
    for package in metadata()["packages"].as_array().unwrap() {
        let features = package["features"].as_object().unwrap();
        assert!(!features.contains_key("canary"), "{}: {features:?}", package["name"]);
    }
}

#[test]
fn the_drivers_know_no_frames() {
    let frames = [
        "node.register",
        "node.heartbeat",
        "node.deregister",
        "agent.register",
        "agent.recover",
        "agent.deregister",
        "delivery.ack",
        "action.result",
        "action.invoke",
        "inventory.sync",
        "context.update",
    ];
    let names_a_frame = |code: &str| frames.iter().any(|frame| code.contains(&format!("\"{frame}\"")));
    for folder in ["driver/src", "driver-smol/src", "driver-tokio/src"] {
        let found = offences(folder, names_a_frame);
        assert!(found.is_empty(), "{found:#?}");
    }
}

#[test]
fn the_top_folder_has_only_what_belongs_there() {
    let mut found: BTreeSet<String> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect();
    found.remove("target");
    let expected = [
        "CHANGELOG.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "README.md",
        "core",
        "driver",
        "driver-smol",
        "driver-tokio",
        "fixtures",
        "fuzz",
        "rustfmt.toml",
        "sim",
        "tests",
    ];
    assert_eq!(found, BTreeSet::from(expected.map(String::from)));
}

#[test]
fn every_folder_of_fixtures_is_explained() {
    let readme = fs::read_to_string(root().join("fixtures/README.md")).unwrap();
    let folders: BTreeSet<PathBuf> = ["json", "txt"]
        .iter()
        .flat_map(|extension| files("fixtures", extension))
        .map(|file| file.parent().unwrap().to_owned())
        .collect();
    for folder in folders {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        assert!(
            readme.contains(&format!("{name}/")),
            "fixtures/README.md does not explain {}",
            folder.display()
        );
    }
}

#[test]
fn every_inbound_frame_of_the_fixtures_has_its_expectation() {
    let expected = fs::read_to_string(root().join("fixtures/wire/in-expected.txt")).unwrap();
    for file in files("fixtures/wire/in", "json") {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let stem = name.trim_end_matches(".json");
        assert!(
            expected.lines().any(|line| line.starts_with(stem)),
            "in-expected.txt has no line for {name}"
        );
    }
}

#[test]
fn files_have_one_subject_and_say_which() {
    for folder in ["core", "sim", "driver", "driver-smol", "driver-tokio", "tests"] {
        for path in files(folder, "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let lines = text.lines().count();
            assert!(lines <= LINES, "{} has {lines} lines", path.display());
            // The tests of a module stand under its own head.
            let name = path.file_name().unwrap();
            let headed = text.starts_with("//!")
                || name == "tests.rs"
                || path.to_string_lossy().ends_with("_tests.rs");
            assert!(
                headed || path.ancestors().any(|folder| folder.ends_with("tests")),
                "{} has no head",
                path.display()
            );
        }
    }
}
