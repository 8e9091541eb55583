//! What rust-analyzer shows of declarations while they are typed.
//!
//! `RUST_ANALYZER=path/to/rust-analyzer cargo test -p ui-tests --test crates -- --ignored editor`

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::scratch::Scratch;

/// A running rust-analyzer with one open file.
struct Editor {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    uri: String,
    /// Numbers of the requests and of the versions of the file.
    last: u64,
}

impl Editor {
    fn open(scratch: &Scratch, program: &str) -> Editor {
        let root = format!("file://{}", scratch.root.display());
        let mut process = Command::new(program)
            .current_dir(&scratch.root)
            .env("CARGO_TARGET_DIR", scratch.root.join("target"))
            .env("CARGO_NET_OFFLINE", "true")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let input = process.stdin.take().expect("it is piped");
        let output = BufReader::new(process.stdout.take().expect("it is piped"));
        let uri = format!("{root}/src/lib.rs");
        let mut editor = Editor { process, input, output, uri, last: 0 };
        let capabilities = json!({
            "experimental": { "serverStatusNotification": true },
            "textDocument": { "hover": { "contentFormat": ["markdown"] } },
        });
        let options = json!({ "checkOnSave": false, "cachePriming": { "enable": false } });
        let parameters =
            json!({ "rootUri": root, "capabilities": capabilities, "initializationOptions": options });
        editor.ask("initialize", parameters);
        editor.tell("initialized", json!({}));
        // Until the crate is loaded and its macros are built.
        while editor.receive()["params"]["quiescent"] != true {}
        let text = std::fs::read_to_string(scratch.root.join("src/lib.rs")).expect("it was written");
        let document = json!({ "uri": editor.uri, "languageId": "rust", "version": 0, "text": text });
        editor.tell("textDocument/didOpen", json!({ "textDocument": document }));
        editor
    }

    fn send(&mut self, message: Value) {
        let message = message.to_string();
        write!(self.input, "Content-Length: {}\r\n\r\n{message}", message.len())
            .and_then(|()| self.input.flush())
            .expect("rust-analyzer reads");
    }

    fn tell(&mut self, method: &str, parameters: Value) {
        self.send(json!({ "jsonrpc": "2.0", "method": method, "params": parameters }));
    }

    /// The next message; requests are answered with nothing.
    fn receive(&mut self) -> Value {
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.output.read_line(&mut line).expect("rust-analyzer writes");
            assert!(!line.is_empty(), "rust-analyzer ended");
            match line.trim().split_once(": ") {
                Some(("Content-Length", bytes)) => length = bytes.parse().expect("it is a number"),
                Some(_) => {}
                None => break,
            }
        }
        let mut bytes = vec![0; length];
        self.output.read_exact(&mut bytes).expect("rust-analyzer writes all of a message");
        let message: Value = serde_json::from_slice(&bytes).expect("messages are JSON");
        if !message["id"].is_null() && !message["method"].is_null() {
            self.send(json!({ "jsonrpc": "2.0", "id": message["id"], "result": null }));
        }
        message
    }

    fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let id = self.last;
        self.send(json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": parameters }));
        loop {
            let message = self.receive();
            if message["id"] == id && message["method"].is_null() {
                return message["result"].clone();
            }
        }
    }

    /// Asks at the place of `|` in a crate of this text.
    fn ask_at(&mut self, method: &str, text: &str) -> Value {
        let (before, after) = text.split_once('|').expect("there is a place");
        self.last += 1;
        let document = json!({ "uri": self.uri, "version": self.last });
        let changes = json!([{ "text": format!("{before}{after}") }]);
        self.tell("textDocument/didChange", json!({ "textDocument": document, "contentChanges": changes }));
        let line = before.matches('\n').count();
        let character = before.len() - before.rfind('\n').map_or(0, |newline| newline + 1);
        let position = json!({ "line": line, "character": character });
        self.ask(method, json!({ "textDocument": { "uri": self.uri }, "position": position }))
    }

    fn completions(&mut self, text: &str) -> Vec<String> {
        let list = self.ask_at("textDocument/completion", text);
        let items = list["items"].as_array().or(list.as_array()).cloned().unwrap_or_default();
        let labels = items.iter().filter_map(|item| item["label"].as_str());
        let mut labels: Vec<String> = labels.filter(|label| *label != "self").map(str::to_owned).collect();
        labels.sort();
        labels
    }

    fn hover(&mut self, text: &str) -> String {
        let hover = self.ask_at("textDocument/hover", text);
        hover["contents"]["value"].as_str().unwrap_or_default().to_owned()
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn declaration(arguments: &str, fields: &str) -> String {
    format!(
        "use pipelines::prelude::*;\n\n#[pipeline({arguments})]\npub struct Storyteller {{\n    {fields}\n}}\n\n\
         pub fn name() -> &'static str {{\n    Storyteller::NAME\n}}\n"
    )
}

#[test]
#[ignore = "drives the rust-analyzer that the variable RUST_ANALYZER names"]
fn words_complete_and_explain_themselves() {
    let program = std::env::var("RUST_ANALYZER").expect("RUST_ANALYZER names a program");
    let scratch = Scratch::new("editor", "pipelines = { path = \"PIPELINES\" }");
    scratch.write("src/lib.rs", &declaration("arch = moe", ""));
    let mut editor = Editor::open(&scratch, &program);

    let keys = "arch custom dtype format hardware infer model preprocess route task";
    for (arguments, expected) in [
        ("|", keys),
        ("ar|", keys),
        ("arch = moe, |", keys),
        ("arch = |", "moe text"),
        ("arch = m|", "moe text"),
        ("arch = moe, task = |", "feature_extraction text_generation"),
        ("arch = moe, hardware = [cu|]", "cpu cuda rocm"),
        ("arch = moe, hardware = [cuda, |, cpu]", "cpu cuda rocm"),
        ("arch = moe, dtype = |", "bf16 f16 f32"),
        ("arch = moe, custom(|)", "format infer preprocess route"),
    ] {
        assert_eq!(editor.completions(&declaration(arguments, "")).join(" "), expected, "{arguments}");
    }
    for param in ["#[param(|)] seed: u64,", "#[param(default = 1, ra|)] seed: u64,"] {
        assert_eq!(
            editor.completions(&declaration("arch = moe", param)).join(" "),
            "default range",
            "{param}"
        );
    }

    for (arguments, expected) in [
        ("ha|rdware = [cpu]", "Where the pipeline may run, the most wanted first"),
        ("arch = m|oe", "The mixture-of-experts architecture."),
        ("arch = \"spa|rse\"", "The mixture-of-experts architecture."),
        ("arch = moe, task = text-gene|ration", "Continues a prompt or answers a conversation"),
        ("arch = moe, hardware = [nvi|dia]", "An NVIDIA GPU."),
        ("arch = moe, dtype = bf|16", "16-bit brain floating point"),
        ("arch = moe, custom(for|mat)", "Last stage: what a user gets."),
    ] {
        let said = editor.hover(&declaration(arguments, ""));
        assert!(said.contains(expected), "{arguments}: {said}");
    }

    let told = "\npub fn told(story: <Storyteller as Format>::Output) -> usize {\n    story.te|xt.len()\n}\n";
    let said = editor.hover(&(declaration("arch = moe", "") + told));
    assert!(said.contains("moe::generation::Generation"), "an editor knows what a pipeline gives: {said}");

    for (arguments, fields) in [
        ("", ""),
        ("ar", ""),
        ("arch = ", ""),
        ("arch = moe, hardware = [cu]", ""),
        ("arch = moe", "#[param(default = )] temperature: f32,"),
        ("arch = moe", "temperature: , seed: u64,"),
        ("arch = moe", "se"),
    ] {
        let text = declaration(arguments, fields).replace("Storyteller::NAME", "Story|teller::NAME");
        assert!(editor.hover(&text).contains("pub struct Storyteller"), "{text}");
        let text = text.replace("Story|teller::NAME", "Storyteller::NA|ME");
        assert!(editor.hover(&text).contains("const NAME"), "{text}");
    }
}
