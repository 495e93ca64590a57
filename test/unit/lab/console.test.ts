import { expect, test } from "bun:test";
import { Console, ConsoleError } from "../../lab/console.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

test("a pattern that comes in pieces is found, and the next search starts after it", async () => {
  const console = new Console(() => {});
  const first = console.waitFor(/login: /, 1000);
  console.feed(bytes("Debian log"));
  console.feed(bytes("in: a login: b"));
  expect((await first).index).toBe(7);
  expect((await console.waitFor(/login: /, 1000)).index).toBe(2);
  const none = console.waitFor(/login: /, 1000);
  console.close("gone");
  await expect(none).rejects.toThrow("gone");
});

test("a character split over two reads stays whole", () => {
  const console = new Console(() => {});
  const euro = bytes("€");
  console.feed(euro.subarray(0, 1));
  console.feed(euro.subarray(1));
  expect(console.transcript).toBe("€");
});

test("what was shown before the close can still be waited for", async () => {
  const console = new Console(() => {});
  console.feed(bytes("last words\n"));
  console.close("ended");
  await console.waitFor(/words\n/, 1000);
  await expect(console.waitFor(/more/, 1000)).rejects.toThrow(ConsoleError);
});

test("at the time limit the error shows what came instead", async () => {
  const console = new Console(() => {});
  console.feed(bytes("Kernel panic"));
  await expect(console.waitFor(/login/, 1)).rejects.toThrow(/within 0.001 s[\s\S]*Kernel panic/);
});

test("what is typed reaches the other side as it is", () => {
  const typed: string[] = [];
  new Console((text) => typed.push(text)).type("halt\n");
  expect(typed).toEqual(["halt\n"]);
});
