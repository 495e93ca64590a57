import { describe, expect, test } from "bun:test";
import { join } from "node:path";

const root = join(import.meta.dir, "../../..");
const read = (file: string) => Bun.file(join(root, file));

interface Locked {
  readonly version: string;
  readonly integrity?: string;
  readonly dev?: boolean;
}

describe("what this program depends on", async () => {
  const { dependencies, devDependencies, allowScripts } = await read("package.json").json();
  const lock = await read("package-lock.json").json();
  const packages = Object.entries(lock.packages as Readonly<Record<string, Locked>>).filter(([path]) => path !== "");

  test("when it runs: two packages, which need no others", () => {
    expect(dependencies).toEqual({ citty: "0.2.2", consola: "3.4.2" });
    const inProduct = packages.filter(([, { dev }]) => dev !== true);
    expect(inProduct.map(([path, { version }]) => `${path} ${version}`)).toEqual([
      "node_modules/citty 0.2.2",
      "node_modules/consola 3.4.2",
    ]);
  });

  test("is pinned to a version", () => {
    for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies }))
      expect({ name, version }).toEqual({ name, version: expect.stringMatching(/^\d+\.\d+\.\d+$/) });
  });

  test("is pinned to its content", () => {
    expect(packages.length).toBeGreaterThan(20);
    for (const [path, { integrity }] of packages)
      expect({ path, integrity }).toEqual({ path, integrity: expect.stringMatching(/^sha512-[\w+/]{86}==$/) });
  });

  test("runs no scripts when it is installed but Bun's own", () => {
    expect(Object.keys(allowScripts)).toEqual(["bun"]);
  });
});

describe("no code is made from text", () => {
  const MADE =
    /\beval\s*\(|\bnew\s+Function\b|(?<![.\w])Function\s*\(|\bcreateContext\s*\(|\brunIn\w*Context\s*\(|\bcc\s*\(\s*\{/;

  test("the pattern finds it", () => {
    for (const text of ["eval(x)", "new Function('a')", "x=Function(y)", "vm.runInThisContext(z)"])
      expect(text).toMatch(MADE);
    for (const text of ["retrieval(x)", "isFunction(x)", "function(x)", "dec_cc(x)"]) expect(text).not.toMatch(MADE);
  });

  test("in what the executable is built of", async () => {
    const build = await Bun.build({
      entrypoints: ["src/main.ts", "src/vmm/workers/vcpu.ts", "src/vmm/workers/io.ts", "src/vmm/workers/block.ts"].map(
        (file) => join(root, file),
      ),
      target: "bun",
      splitting: true,
    });
    const texts = await Promise.all(build.outputs.map((output) => output.text()));
    expect(texts.join("").length).toBeGreaterThan(500_000);
    for (const text of texts) expect(text.split("\n").filter((line) => MADE.test(line))).toEqual([]);
  });
});
