"""Occurrences of cron lines around every change of every time zone, found with Python's zoneinfo.

    oracle.py LINES > RECORDS

One record a line: zone, cron line, from, to, occurrences (seconds since 1970), separated by tabs. A line of fixed times
runs once for each local time that matches: at the first of its instants, or, where it has none, at the first minute whose
local time is later. A line by the minute or hour runs at each minute whose local time matches.
"""

import sys
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo, available_timezones

UTC = timezone.utc
MINUTE = timedelta(minutes=1)
FIRST = datetime(2025, 1, 1, tzinfo=UTC)
LAST = datetime(2038, 1, 1, tzinfo=UTC)


def members(field, low, high):
    found = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        if span == "*":
            first, last = low, high
        elif "-" in span:
            first, last = (int(end) for end in span.split("-"))
        else:
            first = last = int(span)
        found.update(range(first, last + 1, int(step or 1)))
    return found


class Line:
    def __init__(self, text):
        self.text = text
        minute, hour, day, month, weekday = text.split()
        self.minutes, self.hours = members(minute, 0, 59), members(hour, 0, 23)
        self.days, self.months = members(day, 1, 31), members(month, 1, 12)
        self.weekdays = {number % 7 for number in members(weekday, 0, 7)}
        self.either = not day.startswith("*") and not weekday.startswith("*")
        self.by_the_clock = minute.startswith("*") or hour.startswith("*")

    def matches(self, local):
        if local.minute not in self.minutes or local.hour not in self.hours or local.month not in self.months:
            return False
        day, weekday = local.day in self.days, local.isoweekday() % 7 in self.weekdays
        return (day or weekday) if self.either else (day and weekday)


def offset(zone, at):
    return at.astimezone(zone).utcoffset()


def changes(zone):
    """The instants at which the offset changes, found by halving."""
    at, before = FIRST, offset(zone, FIRST)
    while at < LAST:
        later = at + timedelta(hours=12)
        if offset(zone, later) != before:
            low, high = at, later
            while high - low > timedelta(seconds=1):
                middle = low + (high - low) // 2
                middle = middle.replace(microsecond=0)
                if offset(zone, middle) == before:
                    low = middle
                else:
                    high = middle
            if high < LAST:
                yield high
            before = offset(zone, high)
            at = high
        else:
            at = later


def instants(zone, local):
    """The instants of a local time, the first one first."""
    found = []
    for fold in (0, 1):
        at = local.replace(tzinfo=zone, fold=fold).astimezone(UTC)
        if at.astimezone(zone).replace(tzinfo=None) == local and at not in found:
            found.append(at)
    return sorted(found)


def runs(line, zone, start, end, minutes):
    if line.by_the_clock:
        return [at for at, local in minutes if line.matches(local)]
    found = set()
    locals_ = [local for _, local in minutes]
    local, last = min(locals_) - timedelta(hours=3), max(locals_)
    while local <= last:
        if line.matches(local):
            real = instants(zone, local)
            if real:
                found.add(real[0])
            else:
                # No instant has this local time: the minute at which clocks leap over it.
                leaps = zip(minutes, minutes[1:])
                found.update(at for (_, shown), (at, next_shown) in leaps if shown < local < next_shown)
        local += MINUTE
    return sorted(at for at in found if start <= at <= end)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        lines = [Line(text.strip()) for text in file if text.strip()]
    seen, zones = set(), 0
    for name in sorted(available_timezones()):
        if name in ("localtime", "Factory") or name.startswith(("posix/", "right/")):
            continue
        zone = ZoneInfo(name)
        zones += 1
        for change in changes(zone):
            kind = (change, offset(zone, change - timedelta(seconds=1)), offset(zone, change))
            if kind in seen:
                continue
            seen.add(kind)
            start, end = change - timedelta(minutes=150), change + timedelta(minutes=170)
            minutes, at = [], start
            while at <= end:
                minutes.append((at, at.astimezone(zone).replace(tzinfo=None)))
                at += MINUTE
            for line in lines:
                found = ",".join(str(int(at.timestamp())) for at in runs(line, zone, start, end, minutes))
                print(name, line.text, int(start.timestamp()), int(end.timestamp()), found, sep="\t")
    print(f"{zones} zones, {len(seen)} kinds of changes", file=sys.stderr)


if __name__ == "__main__":
    main()
