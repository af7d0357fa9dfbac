//! Codes of `bascule.yaml`. The examples are parts of that file.

/// The constants.
pub(super) mod codes {
    use super::super::catalog;

    catalog! {
        PROJECT_NAME = "PJ001", "a name that cannot be used",
            "Connections, folders, stores and plugins are named with letters, digits, `-` and `_`; workflows and commands \
             write these names without quotes. A parameter is a name inside expressions, so it has no `-`. `workflow` \
             is no plugin's name, since `uses: workflow/NAME` calls another workflow.",
            wrong: "folders:\n  \"my photos\": { path: ./photos }\n",
            right: "folders:\n  my-photos: { path: ./photos }\n";
        PROJECT_VALUE = "PJ002", "a value that is not accepted here",
            "The key takes one of a few words, or a number, size or duration within bounds; the message says which. \
             Sizes are written `4MiB`, `200KB` or as a number of bytes, durations `500ms`, `5s`, `2m` or `1h`, rates \
             `5/s` or `100/min`.",
            wrong: "connections:\n  hr:\n    url: https://hr.example\n    rate: 5 per second\n",
            right: "connections:\n  hr:\n    url: https://hr.example\n    rate: 5/s\n";
        PROJECT_URL = "PJ003", "an address that is not one",
            "`url:` is scheme, host, optionally port and base path: `https://hr.example` or `http://10.0.0.7:8080/api`. \
             Only http and https are spoken. What follows is the plugin's business: it names paths and queries itself.",
            wrong: "connections:\n  hr:\n    url: hr.example\n",
            right: "connections:\n  hr:\n    url: https://hr.example\n";
        PROJECT_URL_LOGIN = "PJ004", "credentials in an address",
            "`https://user:password@host` would put the password into every log line that shows the address. The user \
             goes to `auth`, the password into the encrypted store.",
            wrong: "connections:\n  door:\n    url: http://admin:invented@10.0.0.7\n",
            right: "connections:\n  door:\n    url: http://10.0.0.7\n    auth:\n      digest: { user: admin, password: { secret: door-password } }\n";
        PROJECT_EXPRESSION = "PJ005", "an expression that cannot stand here",
            "Expressions are read in `url`, `key`, the `user` of `auth` and the name of a `secret`, and they see the \
             connection's own `params` and nothing else: one connection serves every run. Elsewhere in `bascule.yaml` \
             `${{ }}` would be plain text, which nobody means.",
            wrong: "connections:\n  door:\n    url: \"http://${{ inputs.ip }}\"\n    allow: { addresses: [10.0.0.0/24] }\n",
            right: "connections:\n  door:\n    params: [ip]\n    url: \"http://${{ ip }}\"\n    allow: { addresses: [10.0.0.0/24] }\n";
        PROJECT_PARAM_UNUSED = "PJ006", "a parameter that nothing uses",
            "Each use of the connection has to supply every parameter. One that stands in no expression of the entry \
             changes nothing; often the expression has another name in it.",
            wrong: "connections:\n  door:\n    params: [device]\n    url: http://10.0.0.7\n",
            right: "connections:\n  door:\n    url: http://10.0.0.7\n";
        PROJECT_ADDRESSES = "PJ007", "address ranges are missing",
            "Where the host comes from a parameter, it comes from a table or a caller, and the credentials go with it. \
             `allow.addresses` says where such hosts may be; an address outside is refused after name resolution.",
            wrong: "connections:\n  door:\n    params: [device]\n    url: \"http://${{ device.ip }}\"\n",
            right: "connections:\n  door:\n    params: [device]\n    url: \"http://${{ device.ip }}\"\n    allow: { addresses: [10.20.0.0/16] }\n";
        PROJECT_RANGE = "PJ008", "an address range that is not one, or not the one that is meant",
            "A range is an address, or an address and the number of bits that count (CIDR): `10.20.0.0/16` is 10.20.0.0 \
             to 10.20.255.255. Names have no range. An address written out in `url` must lie in one of the ranges, or \
             the connection can reach nothing.",
            wrong: "connections:\n  door:\n    url: http://10.0.0.7\n    allow: { addresses: [10.0.0.0-10.0.0.255] }\n",
            right: "connections:\n  door:\n    url: http://10.0.0.7\n    allow: { addresses: [10.0.0.0/24] }\n";
        PROJECT_ALLOW = "PJ009", "a method or path that cannot be allowed",
            "`methods` are GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS. `paths` are beginnings of paths: `/ISAPI/` \
             allows everything below it, without `*`.",
            wrong: "connections:\n  door:\n    url: http://10.0.0.7\n    allow: { paths: [ISAPI/*] }\n",
            right: "connections:\n  door:\n    url: http://10.0.0.7\n    allow: { paths: [/ISAPI/] }\n";
        PROJECT_AUTH = "PJ010", "a form of auth that is not known or not complete",
            "`auth` is `none`, or a map with exactly one of `basic`, `digest`, `ak-sk`, `token` and `headers`. The host \
             proves who it is with that scheme and no other: a device that offers Basic to a `digest` connection is \
             refused.",
            wrong: "connections:\n  door:\n    url: http://10.0.0.7\n    auth: { type: digest }\n",
            right: "connections:\n  door:\n    url: http://10.0.0.7\n    auth:\n      digest: { user: admin, password: { secret: door-password } }\n";
        PROJECT_PLAIN_SECRET = "PJ011", "a secret in plain text",
            "`bascule.yaml` is copied, mailed and committed; passwords and keys are not written into it. Store the value \
             with `bascule secret set NAME` and write `{ secret: NAME }`, or name an environment variable, \
             `{ env: NAME }`, or a file, `{ file: PATH }`. A value that stood here is best changed.",
            wrong: "connections:\n  door:\n    url: http://10.0.0.7\n    auth:\n      digest: { user: admin, password: invented }\n",
            right: "connections:\n  door:\n    url: http://10.0.0.7\n    auth:\n      digest: { user: admin, password: { secret: door-password } }\n";
        PROJECT_SECRET = "PJ012", "a secret that is not named properly",
            "A secret is exactly one of `{ secret: NAME }` (stored, encrypted), `{ env: NAME }` and `{ file: PATH }`.",
            wrong: "connections:\n  door:\n    url: http://10.0.0.7\n    auth:\n      basic: { user: admin, password: { vault: door } }\n",
            right: "connections:\n  door:\n    url: http://10.0.0.7\n    auth:\n      basic: { user: admin, password: { secret: door } }\n";
        PROJECT_IN_CLEAR = "PJ013", "credentials travel unencrypted",
            "With `http:` a password (`basic`), a token or an API key can be read on every network between here and a \
             public host. Inside private networks that is often how devices are; `digest` and `ak-sk` do not send the \
             secret itself.",
            wrong: "connections:\n  hr:\n    url: http://hr.example\n    auth: { headers: { apikey: { secret: hr-key } } }\n",
            right: "connections:\n  hr:\n    url: https://hr.example\n    auth: { headers: { apikey: { secret: hr-key } } }\n";
        PROJECT_TLS = "PJ014", "a pin or authority that cannot be used",
            "A pin is the SHA-256 of the peer's certificate: `sha256:` and 64 hexadecimal digits, colons allowed. \
             `pin: stored` uses what `bascule connection pin NAME` has kept. With a pin nothing else is checked, so `ca` \
             beside it has no meaning, and `tls` has none for `http:`.",
            wrong: "connections:\n  door:\n    url: https://10.0.0.7\n    tls: { pin: 3f786850e387550fdab836ed7e6dc881de23001b }\n",
            right: "connections:\n  door:\n    url: https://10.0.0.7\n    tls: { pin: stored }\n";
        PROJECT_VERIFY_OFF = "PJ015", "verification cannot be switched off",
            "Whoever stands between could then read and change everything, the credentials first. A device with a \
             certificate of its own making is trusted by its fingerprint: `bascule connection pin NAME` shows it, asks \
             and keeps it.",
            wrong: "connections:\n  door:\n    url: https://10.0.0.7\n    tls: { verify: false }\n",
            right: "connections:\n  door:\n    url: https://10.0.0.7\n    tls: { pin: stored }\n";
        PROJECT_HEADER = "PJ016", "a header that cannot be set",
            "A header's name is letters, digits and `-`; its value is one line of text. `Host`, `Content-Length` and the \
             like are the host's own.",
            wrong: "connections:\n  hr:\n    url: https://hr.example\n    headers: { Host: other.example }\n",
            right: "connections:\n  hr:\n    url: https://hr.example\n    headers: { X-Client-Info: bascule }\n";
        PROJECT_PATH = "PJ017", "a path or pointer that is not one",
            "Paths of requests begin with `/` and hold no `?`, `#`, `..` or blank. `token`, `expires` and `origin` are JSON \
             pointers into the answer, such as `/data/accessToken`. Paths of files are relative to the project folder, or \
             absolute.",
            wrong: "connections:\n  hr:\n    url: https://hr.example\n    test: rest/v1\n",
            right: "connections:\n  hr:\n    url: https://hr.example\n    test: /rest/v1\n";
        PROJECT_DIGEST = "PJ018", "a sha256 that is not one",
            "`sha256` is the component's digest, 64 hexadecimal digits, as `sha256sum` prints it; another file is then \
             refused.",
            wrong: "plugins:\n  isapi: { file: ./isapi.wasm, sha256: 3f7868 }\n",
            right: "plugins:\n  isapi: { file: ./isapi.wasm, sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 }\n";
    }
}
