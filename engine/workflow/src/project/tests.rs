#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::expression::Scope;
use crate::problem::{Look, catalog};

fn good(text: &str) -> Project {
    let (project, problems) = check("bascule.yaml", text);
    assert!(problems.is_empty(), "{}", problems.render(Look::Plain));
    project.unwrap()
}

fn codes_of(text: &str) -> Vec<&'static str> {
    check("bascule.yaml", text).1.iter().map(|problem| problem.code.name()).collect()
}

const EVERYTHING: &str = r#"
connections:
  terminal:
    description: Any terminal
    params: [device, site]
    url: "https://${{ device.ip }}:${{ device.port | default(443) }}/base"
    key: ${{ device.serial }}
    auth:
      digest: { user: "${{ device.user | default('admin') }}", password: { secret: "terminal-${{ site }}" }, nonces: reuse }
    tls: { pin: [stored, "sha256:9F:86:D0:81:88:4C:7D:65:9A:2F:EA:A0:C5:5A:D0:15:A3:BF:4F:1B:2B:0B:82:2C:D1:5D:6C:15:B0:F0:0A:08"] }
    allow: { addresses: [10.20.0.0/16, "fd00::/8", 192.168.1.7], methods: [get, PUT], paths: [/ISAPI/] }
    timeouts: { connect: 2s, normal: 1m30s, slow: 2m, bulk: 500ms }
    rate: 100/min
    gap: 50ms
    max-response: 200KB
    min-rate: 1024
    headers: { X-Client-Info: bascule }
    test: /ISAPI/System/deviceInfo
    redirects: same-origin
  camera:
    url: http://10.0.0.9
    auth: { basic: { user: viewer, password: { env: CAMERA_PASSWORD } } }
    parallel: 9
  hcp:
    url: https://hcp.example/artemis
    tls: { ca: ./hcp.pem }
    auth: { ak-sk: { key: { file: ./hcp.key }, secret: { secret: hcp-secret }, content-md5: true } }
  partner:
    url: https://api.hik-partner.com
    auth:
      token:
        path: /api/hpcgw/v1/token/get
        body: { appKey: { secret: partner-key }, secretKey: { secret: partner-secret }, kind: "1" }
        token: /data/accessToken
        expires: /data/expireTime
        origin: /data/areaDomain
        origins: ["*.hik-partner.com"]
        header: X-Token
        prefix: ""
        refresh-before: 10m
        code: /errorCode
        expired: LAP500004
        denied: [LAP300001, LAP300002]
  hr:
    url: https://hr.example
    auth:
      headers:
        apikey: { env: HR_KEY }
        X-Other: { file: ./key }
        Authorization: { prefix: "Bearer ", secret: hr-key }
folders: { photos: { path: ./photos } }
stores: { exported: {}, seen: }
plugins: { isapi: { file: ./isapi.wasm, sha256: 9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08 } }
limits: { memory: 128MiB, call: 10m, runs: 8, expiry-warning: 14d }
time-zone: Europe/Bucharest
telemetry: { otlp: { url: "http://127.0.0.1:4318", auth: { headers: { X-Key: { secret: collector } } } } }
retention: { runs: 30d, failed-runs: 60d, deliveries: 7d, once: 400d, max-size: 500MiB }
"#;

#[test]
fn a_file_with_every_key_is_read_as_it_says() {
    let project = good(EVERYTHING);
    let terminal = &project.connections["terminal"];
    let mut scope = Scope::new();
    scope.set("device", json!({ "ip": "10.20.0.7", "serial": "S1" }));
    scope.set("site", json!("north"));
    assert_eq!(terminal.url.evaluate(&scope).unwrap(), json!("https://10.20.0.7:443/base"));
    assert_eq!(terminal.key.as_ref().unwrap().evaluate(&scope).unwrap(), json!("S1"));
    let Auth::Digest { user, password: SecretSource::Stored(name), reuse_nonces: true } = &terminal.auth
    else {
        panic!("{:?}", terminal.auth)
    };
    assert_eq!(user.evaluate(&scope).unwrap(), json!("admin"));
    assert_eq!(name.evaluate(&scope).unwrap(), json!("terminal-north"));
    assert!(terminal.tls.stored_pin);
    assert_eq!(
        terminal.tls.pins,
        ["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]
    );
    assert_eq!(terminal.allow.addresses, ["10.20.0.0/16", "fd00::/8", "192.168.1.7"]);
    assert_eq!(terminal.allow.methods, ["GET", "PUT"]);
    assert_eq!(terminal.timeouts.normal, Duration::from_secs(90));
    assert_eq!(terminal.rate, Some(Rate { count: 100, per: Duration::from_secs(60) }));
    assert_eq!((terminal.max_response_bytes, terminal.min_bytes_per_second), (200_000, 1024));
    assert_eq!((terminal.parallel, terminal.gap), (1, Some(Duration::from_millis(50))));
    assert!(terminal.redirects_same_origin && !terminal.has_fixed_host());
    assert_eq!(terminal.headers["X-Client-Info"], "bascule");
    assert_eq!(terminal.test_path.as_deref(), Some("/ISAPI/System/deviceInfo"));

    assert_eq!(project.connections["camera"].parallel, 9);
    assert!(project.connections["camera"].has_fixed_host());
    assert!(matches!(project.connections["hcp"].auth, Auth::AkSk { content_md5: true, .. }));
    let Auth::Token(exchange) = &project.connections["partner"].auth else { panic!("no token") };
    assert_eq!((exchange.header.as_str(), exchange.prefix.as_str()), ("X-Token", ""));
    assert_eq!(exchange.origin_allow, ["*.hik-partner.com"]);
    assert_eq!((exchange.body.len(), exchange.refresh_before), (3, Duration::from_secs(600)));
    assert_eq!(exchange.code_pointer.as_deref(), Some("/errorCode"));
    assert_eq!((exchange.expired.as_slice(), exchange.denied.len()), (&["LAP500004".to_owned()][..], 2));
    assert_eq!(project.connections["partner"].secrets().len(), 2);
    let Auth::Headers(headers) = &project.connections["hr"].auth else { panic!("no headers") };
    assert_eq!(headers[2].1.prefix, "Bearer ");
    assert_eq!(project.stores.len(), 2);
    assert_eq!((project.limits.memory_bytes, project.limits.runs), (128 << 20, 8));
    assert_eq!(project.time_zone.as_deref(), Some("Europe/Bucharest"));
    let collector = &project.telemetry.as_ref().unwrap().otlp;
    assert!(collector.has_fixed_host() && collector.secrets().len() == 1);
    let days = |days: u64| Duration::from_secs(days * 86_400);
    assert_eq!(project.limits.expiry_warning, days(14));
    let kept = Retention {
        runs: days(30),
        failed_runs: days(60),
        deliveries: days(7),
        once: days(400),
        max_size_bytes: 500 << 20,
    };
    assert_eq!(project.retention, kept);
    assert_eq!(good("stores: { seen: }").retention, Retention::default());
    assert_eq!(project.plugins["isapi"].sha256.as_ref().unwrap().len(), 64);
}

#[test]
fn every_key_of_the_reference_stands_in_that_file() {
    for doc in reference() {
        assert!(
            EVERYTHING.contains(&format!("{}:", doc.key)) && !doc.summary.is_empty() && !doc.form.is_empty(),
            "{}.{}",
            doc.within,
            doc.key
        );
    }
}

#[test]
fn what_is_left_out_has_its_documented_default() {
    assert!(good("").connections.is_empty());
    assert!(good("# nothing yet\nconnections:\n").connections.is_empty());
    let project = good("connections: { hr: { url: \"https://hr.example\" } }");
    let hr = &project.connections["hr"];
    assert!(matches!(hr.auth, Auth::None));
    assert_eq!((hr.parallel, hr.max_response_bytes, hr.min_bytes_per_second), (4, 4 << 20, 1 << 10));
    assert_eq!(hr.timeouts.connect, Duration::from_secs(5));
    assert_eq!((project.limits.memory_bytes, project.limits.call), (64 << 20, Duration::from_secs(300)));
}

#[test]
fn the_examples_of_the_catalog_are_what_they_say() {
    let own = catalog::all().into_iter().filter(|code| code.name().starts_with("PJ"));
    let mut count = 0;
    for code in own {
        count += 1;
        let wrong = codes_of(code.entry().wrong);
        assert_eq!(wrong, [code.name()], "{code}");
        assert_eq!(codes_of(code.entry().right), [""; 0], "{code}");
    }
    assert_eq!(count, 18);
}

#[test]
fn urls_are_checked_around_their_expressions() {
    let check_url = |url: &str| {
        codes_of(&format!(
            "connections:\n  c:\n    params: [p]\n    key: ${{{{ p }}}}\n    url: {url:?}\n    allow: {{ addresses: [10.0.0.0/8, \"fd00::/8\"] }}\n"
        ))
    };
    for fine in [
        "http://${{ p }}",
        "http://${{ p.ip }}:${{ p.port }}/x/${{ p.y }}",
        "https://10.0.0.${{ p }}",
        "${{ p.scheme }}://${{ p.ip }}",
        "${{ p.scheme }}://${{ p.ip }}:${{ p.port }}/base",
        "${{ p.url }}",
        "https://hr.example/${{ p }}",
        "HTTP://door",
        "https://[fd00::1]:8443/",
    ] {
        assert_eq!(check_url(fine), [""; 0], "{fine}");
    }
    for (url, code) in [
        ("ftp://${{ p }}", "PJ003"),
        ("hr.example", "PJ003"),
        ("http://", "PJ003"),
        ("http://x:99999", "PJ003"),
        ("http://x?a=${{ p }}", "PJ003"),
        ("http://x#a", "PJ003"),
        ("http://x/../y", "PJ003"),
        ("http://x y", "PJ003"),
        ("http:\\\\x", "PJ003"),
        ("http://u:p@x", "PJ004"),
        ("http://${{ p }}:secret@x", "PJ004"),
        ("http://u@${{ p }}", "PJ004"),
        ("http://${{ q }}", "PJ005"),
        ("http://${{ p", "WF060"),
        ("", "PJ002"),
    ] {
        assert_eq!(check_url(url), [code], "{url}");
    }
}

#[test]
fn ranges_are_needed_where_a_parameter_may_say_the_host() {
    for (url, needed) in [
        ("http://${{ p }}", true),
        ("http://10.0.0.1:${{ p }}", true),
        ("http://10.0.0.1${{ p }}", true),
        ("${{ p }}", true),
        ("http://10.0.0.1/${{ p }}", false),
    ] {
        let codes = codes_of(&format!("connections:\n  c:\n    params: [p]\n    url: \"{url}\"\n"));
        assert_eq!(codes.contains(&"PJ007"), needed, "{url}: {codes:?}");
    }
}

#[test]
fn credentials_in_clear_are_warned_about_only_where_others_can_listen() {
    for (url, warned) in [
        ("http://hr.example", true),
        ("http://8.8.8.8", true),
        ("https://hr.example", false),
        ("http://10.1.2.3", false),
        ("http://localhost:8080", false),
        ("http://door", false),
        ("http://door.lan", false),
        ("http://100.64.0.1", false),
        ("http://[fe80::1]", false),
        ("http://[2001:db8::1]", true),
    ] {
        let basic = "basic: { user: u, password: { secret: s } }";
        let codes = codes_of(&format!("connections:\n  c:\n    url: {url}\n    auth: {{ {basic} }}\n"));
        assert_eq!(codes.contains(&"PJ013"), warned, "{url}");
        let digest = "digest: { user: u, password: { secret: s } }";
        let codes = codes_of(&format!("connections:\n  c:\n    url: {url}\n    auth: {{ {digest} }}\n"));
        assert!(codes.is_empty(), "{url}");
    }
    let ranged = |range: &str| {
        codes_of(&format!(
            "connections:\n  c:\n    params: [p]\n    url: \"http://${{{{ p }}}}\"\n    auth: {{ basic: {{ user: u, password: {{ secret: s }} }} }}\n    allow: {{ addresses: [{range}] }}\n"
        ))
    };
    assert_eq!(ranged("10.0.0.0/8"), [""; 0]);
    assert_eq!(ranged("8.8.8.0/24"), ["PJ013"]);
    assert_eq!(ranged("0.0.0.0/0"), ["PJ013", "PJ008"]);
}

#[test]
fn a_secret_in_plain_text_is_never_shown() {
    for text in [
        "connections:\n  c:\n    url: http://10.0.0.7\n    auth: { digest: { user: admin, password: canary-77 } }\n",
        "connections:\n  c:\n    url: http://10.0.0.7\n    auth: { digest: { user: admin, password: \"canary-77\", x: 1 } }\n",
        "connections:\n  c:\n    url: http://10.0.0.7\n    auth: { basic: { user: admin, password: { secret: \"canary-77 !\" } } }\n",
        "connections:\n  c:\n    url: http://10.0.0.7\n    auth: { basic: { user: admin, password: { env: \"$canary-77\" } } }\n",
        "connections:\n  c:\n    url: http://admin:canary-77@10.0.0.7\n",
        "connections:\n  c:\n    url: http://10.0.0.7\n    headers: { Authorization: canary-77 }\n",
        "connections:\n  c:\n    url: http://10.0.0.7\n    auth: { headers: { apikey: canary-77 } }\n",
        "connections:\n  c:\n    url: http://10.0.0.7\n    auth: { token: { path: /t, token: /t, body: { appSecret: canary-77 } } }\n",
    ] {
        let (project, problems) = check("bascule.yaml", text);
        assert!(project.is_none(), "{text}");
        let shown =
            problems.render(Look::Plain) + &serde_json::to_string(&problems).unwrap() + problems.source();
        assert!(!shown.contains("canary"), "{shown}");
        assert_eq!(problems.source().len(), text.len());
    }
    for (text, canary) in [
        (
            "connections:\n  c: { url: \"http://10.0.0.7\", auth: { digest: { user: admin, password: 0077 } } }\n",
            "0077",
        ),
        (
            "connections:\n  c: { url: \"http://10.0.0.7\", auth: { digest: { user: admin, password: 11:59 } } }\n",
            "11:59",
        ),
        ("connections:\n  c:\n    password: canary one\n    password: canary two\n", "canary"),
        (
            "connections: {\n  c: { password: canary-1, Password: 'canary 2', \"password\": \"canary\" \n",
            "canary",
        ),
        ("connections:\n  c:\n    password: canary, with } comma\n  - x: [\n", "canary"),
    ] {
        let (_, problems) = check("bascule.yaml", text);
        let shown =
            problems.render(Look::Plain) + &serde_json::to_string(&problems).unwrap() + problems.source();
        assert!(problems.has_errors() && !shown.contains(canary), "{shown}");
    }
}

#[test]
fn pins_and_rates_and_sizes_have_their_forms() {
    let tls =
        |pin: &str| codes_of(&format!("connections:\n  c:\n    url: https://x\n    tls: {{ pin: {pin} }}\n"));
    let digits = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    assert_eq!(tls(&format!("\"sha256:{digits}\"")), [""; 0]);
    for pin in [digits, "\"sha256:12\"", "\"sha1:ab\"", "never"] {
        assert_eq!(tls(pin), ["PJ014"], "{pin}");
    }
    let field = |field: &str| codes_of(&format!("connections:\n  c:\n    url: https://x\n    {field}\n"));
    for fine in
        ["rate: 5/s", "rate: 1000/h", "rate: 3/10s", "max-response: 1024", "max-response: 4MiB", "gap: 0s"]
    {
        assert_eq!(field(fine), [""; 0], "{fine}");
    }
    for wrong in [
        "rate: 0/s",
        "rate: 5",
        "rate: 5/x",
        "max-response: 0",
        "max-response: 1TiB",
        "max-response: many",
        "parallel: 0",
        "parallel: 1.5",
        "gap: 2h",
    ] {
        assert_eq!(field(wrong), ["PJ002"], "{wrong}");
    }
    assert_eq!(field("gap: 5"), ["WF021"]);
    for off in [
        "tls: { verify: false }",
        "tls: { insecure: true }",
        "tls: off",
        "verify: false",
        "insecure-skip-verify: true",
    ] {
        assert!(field(off).contains(&"PJ015"), "{off}: {:?}", field(off));
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_checker_panic(text in "(connections|url|auth|tls|params|allow|[a-z]{1,3}|[:{}\\[\\],\"'$ \n-]|\\PC){0,60}") {
        let _ = check("bascule.yaml", &text);
    }

    #[test]
    fn no_value_in_a_known_place_makes_the_checker_panic(key in prop::sample::select(reference().to_vec()), value in "[a-z0-9:/.@{}$\\[\\] -]{0,20}") {
        let text = format!("connections:\n  c:\n    url: https://x\n    {}: {value}\n    auth:\n      token: {{ {}: {value} }}\n", key.key, key.key);
        let _ = check("bascule.yaml", &text);
    }
}
