"""The picture for the README: four quantities, a bar for each server, the floor as a line."""
import math

import candidates

PANELS = ["private memory, 4 listeners", "private memory, 512 listeners", "first byte", "connections a second, 8 clients"]
TITLES = ["Private memory with 4 listeners, kB", "Private memory with 512 listeners, kB",
          "Connect to first byte, microseconds", "Connections served a second (more is better)"]
FLOOR, OURS = candidates.FLOOR["name"], candidates.FIRMWARE["name"]
HIDDEN = [c["name"] for c in (*candidates.FLOORS, candidates.STABLE)]
NAMES = {"systemd-socket-activate": "socket-activate"}
WIDTH, GAP, LEFT, BAR, STEP, TOP = 460, 28, 118, 13, 19, 34
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #333 }
.title { font-weight: 600; fill: #111 }
.name, .note { fill: #555 }
.ours { font-weight: 600; fill: #a0522d }
rect { fill: #b8b4ad }
rect.ours { fill: #c4692b }
line { stroke: #2f6f8f; stroke-dasharray: 4 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #ccc } .title { fill: #eee } .name, .note { fill: #aaa } .ours { fill: #e8a06a }
  rect { fill: #5c5a57 } rect.ours { fill: #d27f42 } line { stroke: #7fb7d1 }
}"""


def escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;")


def panel(x, y, title, quantity, results):
    """One panel: bars on a logarithmic scale, best first. Returns its elements and its height."""
    found = [(quantity.value(results, name), name) for name in results["servers"] if name not in HIDDEN]
    found = sorted(((v, n) for v, n in found if v), reverse=quantity.more)
    floor = quantity.value(results, FLOOR)
    everything = [v for v, _ in found] + ([floor] if floor else [])
    low, high = min(everything) / 2, max(everything)
    room = WIDTH - LEFT - 52

    def length(value):
        return max(2, room * math.log(value / low) / math.log(high / low))
    out = ['<text class="title" x="%d" y="%d">%s</text>' % (x, y + 14, escape(title))]
    for i, (value, name) in enumerate(found):
        at, kind = y + TOP + i * STEP, ' class="ours"' if name == OURS else ""
        out.append('<text%s text-anchor="end" x="%d" y="%d">%s</text>' % (
            kind or ' class="name"', x + LEFT - 6, at + 11, escape(NAMES.get(name, name))))
        out.append('<rect%s x="%d" y="%d" width="%.1f" height="%d" rx="2"/>' % (kind, x + LEFT, at, length(value), BAR))
        out.append('<text%s x="%.1f" y="%d">%d</text>' % (kind, x + LEFT + length(value) + 5, at + 11, round(value)))
    bottom = y + TOP + len(found) * STEP
    if floor:
        at = x + LEFT + length(floor)
        out.append('<line x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>' % (at, at, y + TOP - 6, bottom - 2))
        out.append('<text class="note" x="%.1f" y="%d">floor %d</text>' % (at + 4, y + TOP - 4, round(floor)))
    return out, bottom - y + GAP


def draw(results, quantities):
    by_label = {q.label: q for q in quantities}
    out, y = [], 10
    for pair in ((0, 1), (2, 3)):
        heights = []
        for column, i in enumerate(pair):
            elements, height = panel(10 + column * (WIDTH + GAP), y, TITLES[i], by_label[PANELS[i]], results)
            out += elements
            heights.append(height)
        y += max(heights)
    note = "Logarithmic scales. %s; %s. Floor: a C program that only accepts, starts and waits." % (
        results["meta"]["date"], results["meta"]["machine"])
    out.append('<text class="note" x="10" y="%d">%s</text>' % (y + 4, escape(note)))
    width, height = 20 + 2 * WIDTH + GAP, y + 18
    return ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" role="img" aria-label="Dormouse '
            'beside other socket activators">\n<style>%s\n</style>\n%s\n</svg>\n' % (
                width, height, width, STYLE, "\n".join(out)))
