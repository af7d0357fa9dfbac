//! Codes of `triggers:`.

/// The constants.
pub(super) mod codes {
    use super::super::catalog;

    catalog! {
        UNKNOWN_TRIGGER = "WF070", "not a trigger",
            "Each entry of `triggers:` is a map with exactly one of `schedule`, `webhook`, `event`, `workflow` and \
             `file`. Every workflow can also be started by hand.",
            wrong: "triggers:\n  - cron: \"0 3 * * *\"\n",
            right: "triggers:\n  - schedule: { cron: \"0 3 * * *\" }\n";
        CRON = "WF071", "not a cron line",
            "Five fields (minute, hour, day of the month, month, day of the week), or six with seconds in front, or \
             `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`. Days of the week are 0 to 7 (0 and 7 are Sunday) or MON to SUN.",
            wrong: "triggers:\n  - schedule: { cron: \"0 25 * * *\" }\n",
            right: "triggers:\n  - schedule: { cron: \"0 23 * * *\" }\n";
        TIME_ZONE = "WF072", "an unknown time zone",
            "Zones are named as in the IANA database, for example `Europe/Bucharest` or `UTC`. Offsets and \
             abbreviations (`+02:00`, `CET`) know nothing of summer time as it is observed at the site.",
            wrong: "triggers:\n  - schedule: { cron: \"0 3 * * *\", time-zone: Europe/Bukarest }\n",
            right: "triggers:\n  - schedule: { cron: \"0 3 * * *\", time-zone: Europe/Bucharest }\n";
        WEBHOOK_PATH = "WF073", "a path that a webhook cannot have",
            "The path stands below `/hooks/`: letters, digits, `-`, `_`, `.` and `/`, and `{name}` for a part that is \
             handed over as `trigger.path.name`. Two webhooks of a workflow need different paths or methods.",
            wrong: "triggers:\n  - webhook: { path: \"update photo\", auth: none }\n",
            right: "triggers:\n  - webhook: { path: update-photo, auth: none }\n";
        WEBHOOK_AUTH = "WF074", "who may call the webhook",
            "`auth:` has exactly one of `hmac-sha256`, `header`, `basic` and `digest`, with the names of secrets, never the \
             secrets themselves; `auth: none` must be written out. `addresses:` limits callers to address ranges.",
            wrong: "triggers:\n  - webhook: { path: update-photo, auth: { token: abc } }\n",
            right: "triggers:\n  - webhook: { path: update-photo, auth: { header: { name: X-Token, secret: photo-hook } } }\n";
        TRIGGER_INPUTS = "WF075", "a trigger that gives no value for a required input",
            "A schedule brings no data, so every run it starts would be refused. Give the trigger `inputs:`, or the \
             input a default. A webhook's body and a caller fill the inputs by themselves.",
            wrong: "inputs:\n  floor: { type: integer, required: true }\ntriggers:\n  - schedule: { cron: \"0 3 * * *\" }\n",
            right: "inputs:\n  floor: { type: integer, required: true }\ntriggers:\n  - schedule: { cron: \"0 3 * * *\", inputs: { floor: 2 } }\n";
        ADDRESS = "WF076", "not an address range",
            "Addresses are written as `192.0.2.0/24`, `192.0.2.7` or `2001:db8::/32`.",
            wrong: "triggers:\n  - webhook: { path: door, auth: none, addresses: [192.0.2.300] }\n",
            right: "triggers:\n  - webhook: { path: door, auth: none, addresses: [192.0.2.0/24] }\n";
    }
}
