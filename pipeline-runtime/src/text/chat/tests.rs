//! Tests of the module above.

use super::*;

fn template(source: &str) -> ChatTemplate {
    ChatTemplate::new(source, Path::new("chat_template.jinja")).unwrap()
}

fn render(source: &str) -> Result<String> {
    template(source).render(&[Message::new("user", "Hello")], false, &BTreeMap::new())
}

#[derive(Deserialize)]
struct Recording {
    templates: BTreeMap<String, String>,
    conversations: BTreeMap<String, Vec<Message>>,
    special_tokens: BTreeMap<String, String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    template: String,
    conversation: String,
    add_generation_prompt: bool,
    rendered: Option<String>,
    error: Option<String>,
}

#[test]
fn recorded_renderings_of_transformers_agree() {
    let recording: Recording =
        serde_json::from_str(include_str!("../../../tests/fixtures/chat/cases.json")).unwrap();
    assert!(recording.cases.len() > 50);
    for case in &recording.cases {
        let what = format!("{}, {}, {}", case.template, case.conversation, case.add_generation_prompt);
        let found = template(&recording.templates[&case.template]).render(
            &recording.conversations[&case.conversation],
            case.add_generation_prompt,
            &recording.special_tokens,
        );
        match (&case.rendered, &case.error) {
            (Some(expected), _) => assert_eq!(&found.unwrap(), expected, "{what}"),
            (None, Some(expected)) => {
                let found = found.unwrap_err().to_string();
                assert!(found.starts_with("chat template: chat_template.jinja: line "), "{what}: {found}");
                assert!(found.ends_with(expected), "{what}: {found}");
            }
            (None, None) => panic!("{what}: nothing recorded"),
        }
    }
}

#[test]
fn a_broken_template_is_an_error_with_its_line() {
    let error =
        ChatTemplate::new("a\n{% if %}", Path::new("dir/chat_template.jinja")).unwrap_err().to_string();
    assert!(error.starts_with("chat template: dir/chat_template.jinja: line 2: "), "{error}");
    assert!(ChatTemplate::new("{% generation %}", Path::new("x")).is_err());
    assert!(ChatTemplate::new("{% for x in", Path::new("x")).is_err());
}

#[test]
fn an_empty_conversation_is_refused() {
    assert!(template("x").render(&[], true, &BTreeMap::new()).is_err());
}

#[test]
fn nothing_outside_is_reached() {
    for source in ["{% include 'other' %}", "{% import '/etc/passwd' as x %}", "{{ messages.__class__.x }}"] {
        assert!(render(source).is_err(), "{source}");
    }
}

#[test]
fn templates_that_compute_without_end_fail() {
    let doubling = |operation: &str| {
        format!(
            "{{% set ns = namespace(x='aaaaaaaa', l=[1]) %}}{{% for i in range(60) %}}{operation}{{% endfor %}}{{{{ ns.x }}}}"
        )
    };
    let sources = [
        "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}".to_owned(),
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_owned(),
        "{% include 'chat_template' %}".to_owned(),
        "{{ 'a' * 1000000000 }}".to_owned(),
        "{{ '%1000000000d' | format(1) }}".to_owned(),
        "{{ '{:1000000000}'.format('x') }}".to_owned(),
        "{{ '{0}{0}{0}{0}{0}{0}{0}{0}'.format('a' * 20000000) }}".to_owned(),
        "{{ ('a' * 5000000).replace('a', 'b' * 1000) }}".to_owned(),
        "{{ ('a' * 5000000).replace('', 'b' * 5000000) }}".to_owned(),
        "{{ ('a' * 1000000).join(range(90000) | map('string')) }}".to_owned(),
        "{{ messages | tojson(indent=1000000000) }}".to_owned(),
        "{{ 'x' | indent(1000000000, true) }}".to_owned(),
        doubling("{% set ns.x = ns.x ~ ns.x %}"),
        doubling("{% set ns.x = ns.x + ns.x %}"),
        doubling("{% set ns.x = ns.x.replace('a', 'aa') %}"),
        doubling("{% set ns.x = [ns.x, ns.x] | join %}"),
        doubling("{% set ns.x = '{0}{0}'.format(ns.x) %}"),
        doubling("{% set ns.x = ns.x | replace('a', 'aa') %}"),
        doubling("{% set ns.l = [ns.l, ns.l] %}") + "{{ ns.l | tojson }}",
        doubling("{% set ns.l = [ns.l, ns.l] %}") + "{{ ''.join(ns.l) }}",
    ];
    for source in sources {
        let result = template(&source).render(&[Message::new("user", "Hello")], false, &BTreeMap::new());
        assert!(result.is_err(), "{source}");
    }
}

#[test]
fn long_conversations_are_not_taken_for_endless_ones() {
    let messages: Vec<Message> = (0..20_000)
        .map(|turn| Message::new(if turn % 2 == 0 { "user" } else { "assistant" }, "word ".repeat(100)))
        .collect();
    let recording: Recording =
        serde_json::from_str(include_str!("../../../tests/fixtures/chat/cases.json")).unwrap();
    for (name, source) in &recording.templates {
        if name != "json" {
            let rendered = template(source).render(&messages, true, &recording.special_tokens);
            assert!(rendered.is_ok(), "{name}: {}", rendered.unwrap_err());
        }
    }
}

#[test]
fn dates_are_written_as_in_python() {
    // 2024-07-26 05:09:03 UTC, a Friday, day 208.
    let time = 1_721_970_543;
    let cases = [
        ("%d %b %Y", "26 Jul 2024"),
        ("%B %-d, %Y", "July 26, 2024"),
        ("%Y-%m-%d %H:%M:%S", "2024-07-26 05:09:03"),
        ("%A %a %j %y %I:%M %p %-I %w %u %%", "Friday Fri 208 24 05:09 AM 5 5 5 %"),
        ("%F %T %e", "2024-07-26 05:09:03 26"),
        ("", ""),
    ];
    for (format, expected) in cases {
        assert_eq!(strftime(format, time).unwrap(), expected, "{format}");
    }
    for (days, expected) in [
        (0, (1970, 1, 1)),
        (364, (1970, 12, 31)),
        (365, (1971, 1, 1)),
        (789, (1972, 2, 29)),
        (11_016, (2000, 2, 29)),
        (11_322, (2000, 12, 31)),
        (11_323, (2001, 1, 1)),
        (47_541, (2100, 3, 1)),
    ] {
        assert_eq!(civil(days), expected, "{days}");
    }
    assert!(strftime("%Q", 0).is_err());
    assert!(strftime("%", 0).is_err());
    assert_eq!(render("{{ strftime_now('%Y') | length }}").unwrap(), "4");
}

#[test]
fn generation_tags_become_plain_blocks() {
    assert_eq!(
        without_generation_tags("a{% generation %}b{%- endgeneration -%}c{% if x %}{{ '{%' }}"),
        "a{% if true %}b{%- endif -%}c{% if x %}{{ '{%' }}"
    );
    assert_eq!(without_generation_tags("{%"), "{%");
    assert_eq!(without_generation_tags("{%-%}"), "{%-%}");
}
