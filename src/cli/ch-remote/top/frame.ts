import { clipped, type Line, printable, type Span, span, type Tone, widthOf } from "./line.ts";
import type { Rated, View } from "./rates.ts";
import { type Column, tableLines } from "./table.ts";
import { ageText, bytesText, countText, latencyText, shareText } from "./units.ts";

/** What is drawn on. */
export interface Canvas {
  readonly columns: number;
  /** Infinite where lines scroll. */
  readonly rows: number;
  /** Whether there are characters beyond ASCII. */
  readonly unicode: boolean;
}

const MIN_BAR = 8;
const EIGHTHS = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

const toneOf = (share: number): Tone => (share < 0.6 ? "good" : share < 0.9 ? "warning" : "bad");

/** A bar of a share of one, brackets included. */
function bar(share: number | undefined, width: number, unicode: boolean): Span {
  const inner = Math.max(0, width - 2);
  const filled = Math.min(1, Math.max(0, share ?? 0)) * inner;
  const whole = unicode ? Math.floor(filled) : Math.round(filled);
  const part = unicode ? (EIGHTHS[Math.floor((filled - whole) * 8)] ?? "") : "";
  return span(`[${((unicode ? "█" : "|").repeat(whole) + part).padEnd(inner)}]`, toneOf(share ?? 0));
}

interface Table {
  readonly rowCount: number;
  /** @param count how many of the rows */
  readonly lines: (count: number) => Line[];
}

function tableOf(columns: readonly Column<Rated>[], rows: readonly Rated[], width: number): Table {
  return {
    rowCount: rows.length,
    lines: (count) => {
      if (count >= rows.length) return tableLines(columns, rows, width);
      if (count <= 1) return tableLines(columns, rows.slice(0, 1), width);
      const shown = count - 1;
      const more = clipped([span(`... ${rows.length - shown} more`, "dim")], width);
      return [...tableLines(columns, rows.slice(0, shown), width), more];
    },
  };
}

const name = (title: string, width: number): Column<Rated> => ({
  title,
  width,
  rank: 0,
  align: "left",
  cell: ({ id }) => span(printable(id), "bold"),
});

const load = (rank: number, unicode: boolean): Column<Rated> => ({
  title: "",
  width: MIN_BAR,
  rank,
  align: "left",
  fills: true,
  cell: ({ rates }, width) => bar(rates["cpuSeconds"], width, unicode),
});

const number = (
  title: string,
  width: number,
  rank: number,
  text: (rates: Rated["rates"]) => string,
): Column<Rated> => ({ title, width, rank, cell: ({ rates }) => span(text(rates)) });

/** Mean time of each of the operations that ended. */
const latency = (seconds: number | undefined, operations: number | undefined): string =>
  latencyText(seconds !== undefined && operations !== undefined && operations > 0 ? seconds / operations : undefined);

function usedColumn(uses: ReadonlyMap<string, string>, title: string): Column<Rated> {
  return {
    title,
    width: 10,
    rank: 9,
    align: "left",
    fills: true,
    cell: ({ id }) => span(printable(uses.get(id) ?? ""), "dim"),
  };
}

function tables({ now, vcpus, disks, nets, threads }: View, { columns: width, unicode }: Canvas): Table[] {
  const vcpuColumns = [
    name("vCPU", 4),
    load(4, unicode),
    number("used", 6, 1, (rates) => shareText(rates["cpuSeconds"])),
    number("waits", 6, 3, (rates) => shareText(rates["waitSeconds"])),
    number("exits/s", 8, 2, (rates) => countText(rates["exits"])),
    number("port/s", 7, 5, (rates) => countText(rates["ports"])),
    number("MMIO/s", 7, 6, (rates) => countText(rates["mmio"])),
    number("halt/s", 7, 7, (rates) => countText(rates["halts"])),
    number("IRQ/s", 7, 8, (rates) => countText(rates["interrupts"])),
  ];
  const diskColumns = [
    name("disk", 10),
    number("read/s", 9, 1, (rates) => bytesText(rates["readBytes"])),
    number("written/s", 9, 2, (rates) => bytesText(rates["writtenBytes"])),
    number("reads/s", 8, 3, (rates) => countText(rates["reads"])),
    number("writes/s", 8, 4, (rates) => countText(rates["writes"])),
    number("a read", 8, 5, (rates) => latency(rates["readSeconds"], rates["reads"])),
    number("a write", 8, 6, (rates) => latency(rates["writeSeconds"], rates["writes"])),
    usedColumn(now.uses, "image"),
  ];
  const netColumns = [
    name("net", 10),
    number("recv/s", 9, 1, (rates) => bytesText(rates["receivedBytes"])),
    number("sent/s", 9, 2, (rates) => bytesText(rates["sentBytes"])),
    number("frames in", 9, 3, (rates) => countText(rates["receivedFrames"])),
    number("out/s", 8, 4, (rates) => countText(rates["sentFrames"])),
    usedColumn(now.uses, "host side"),
  ];
  const threadColumns = [
    name("thread", 15),
    load(2, unicode),
    number("used", 6, 1, (rates) => shareText(rates["cpuSeconds"])),
  ];
  const busiest = threads.toSorted((a, b) => (b.rates["cpuSeconds"] ?? 0) - (a.rates["cpuSeconds"] ?? 0));
  return [
    tableOf(vcpuColumns, vcpus, width),
    tableOf(diskColumns, disks, width),
    tableOf(netColumns, nets, width),
    tableOf(threadColumns, busiest, width),
  ].filter(({ rowCount }) => rowCount > 0);
}

const STATES: ReadonlyMap<string, readonly [string, Tone]> = new Map<string, readonly [string, Tone]>([
  ["created", ["not booted", "dim"]],
  ["running", ["running", "good"]],
  ["paused", ["paused", "warning"]],
  ["shutdown", ["shut down", "dim"]],
  ["breakpoint", ["stopped at a breakpoint", "warning"]],
]);

function stateOf({ now: { state }, restarted }: View): Span {
  if (state === undefined) return span("no VM", "dim");
  const [text, tone] = STATES.get(state) ?? [printable(state), "plain" as const];
  return restarted ? span(`${text}, rebooted`, "warning") : span(text, tone);
}

/** Two parts at the ends of a line; the right one stays where there is no room for both. */
function apart(left: Line, right: Span, width: number): Line {
  const room = Math.max(0, width - right.text.length - 1);
  const kept = clipped(left, room);
  return clipped([...kept, span(" ".repeat(Math.max(0, width - widthOf(kept) - right.text.length))), right], width);
}

function meter(label: string, share: number | undefined, text: string, { columns, unicode }: Canvas): Line {
  const start = label.padEnd(7);
  const width = Math.min(50, columns - start.length - text.length - 1);
  const drawn = width >= MIN_BAR ? [bar(share, width, unicode), span(" ")] : [];
  return clipped([span(start, "bold"), ...drawn, span(text)], columns);
}

const sum = (things: readonly Rated[], counter: string): number | undefined =>
  things.reduce<number | undefined>((total, { rates }) => {
    const rate = rates[counter];
    return rate === undefined ? total : (total ?? 0) + rate;
  }, undefined);

function head(view: View, canvas: Canvas, notice: string | undefined): Line[] {
  const { now, vcpus, threads } = view;
  const who = `${printable(now.version)}  pid ${now.pid}  up ${ageText(now.upSeconds)}`;
  const state = notice === undefined ? stateOf(view) : span(printable(notice), "bad");
  const lines = [apart([span("ch-remote top", "bold"), span(`  ${who}`)], state, canvas.columns)];
  if (vcpus.length > 0) {
    const used = sum(vcpus, "cpuSeconds");
    const text = `${shareText(used)} of ${vcpus.length} vCPU${vcpus.length === 1 ? "" : "s"}`;
    lines.push(meter("CPU", used === undefined ? undefined : used / vcpus.length, text, canvas));
  }
  // The VMM's own pages are among the resident ones, so that there can be more than the guest has.
  const memory =
    now.guestBytes === 0
      ? `${bytesText(now.residentBytes)} resident`
      : `${bytesText(now.residentBytes)} resident, guest ${bytesText(now.guestBytes)}`;
  const share = now.guestBytes === 0 ? undefined : now.residentBytes / now.guestBytes;
  lines.push(meter("Memory", share, memory, canvas));
  const own = `${shareText(sum(threads, "cpuSeconds"))} beside the vCPUs, ${now.threadCount} threads, ${now.openFds} files`;
  lines.push(clipped([span("VMM    ", "bold"), span(own)], canvas.columns));
  return lines;
}

/** How many rows each table shows so that all fit, at least one: the last one gives way first, then the longest. */
function shares(counts: readonly number[], room: number): number[] {
  const shown = [...counts];
  let total = shown.reduce((a, b) => a + b, 0);
  while (total > room) {
    const last = shown.at(-1) ?? 0;
    const longest = Math.max(...shown);
    if (longest <= 1) break;
    const index = last > 1 ? shown.length - 1 : shown.lastIndexOf(longest);
    shown[index] = (shown[index] ?? 0) - 1;
    total--;
  }
  return shown;
}

/**
 * A view as lines, none wider than the canvas and not more than its rows.
 * @param notice shown in place of the VM's state
 */
export function frame(view: View, canvas: Canvas, notice?: string): Line[] {
  const top = head(view, canvas, notice);
  const all = tables(view, canvas);
  // An empty line and a heading each.
  const shown = shares(
    all.map(({ rowCount }) => rowCount),
    canvas.rows - top.length - 2 * all.length,
  );
  const body = all.flatMap(({ lines }, index): Line[] => [[], ...lines(shown[index] ?? 0)]);
  return [...top, ...body].slice(0, canvas.rows);
}
