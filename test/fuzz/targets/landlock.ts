import { existsSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ValidationError } from "../../../src/config/errors.ts";
import { OptionTextError } from "../../../src/config/grammar/errors.ts";
import { decodeJson } from "../../../src/config/json/decode.ts";
import { encodeJson } from "../../../src/config/json/encode.ts";
import { JsonError } from "../../../src/config/json/errors.ts";
import { type LandlockConfig, landlockSchema } from "../../../src/config/schema/landlock.ts";
import { parseOption } from "../../../src/config/schema/object-schema.ts";
import { checkLandlockRules } from "../../../src/config/validate/platform.ts";
import { FsRight } from "../../../src/host/landlock.ts";
import { isAllowed, isSame, layerOf, rightsOfLetters } from "../../../src/vmm/confinement/landlock-layer.ts";
import { configOf } from "../../unit/config/command-line.ts";
import type { Input } from "../engine/input.ts";
import type { FuzzTarget } from "../engine/target.ts";

const MOST_RULES = 4;
const PARTS: readonly [string, ...string[]] = [
  "a",
  "b",
  "..",
  ".",
  "link",
  "up",
  "loop",
  "",
  "c",
  "\0",
  "é",
  "a".repeat(300),
];
const ACCESS: readonly [string, ...string[]] = ["r", "w", "rw", "wr", "rr", "", "x", "rwx", "R", "\u{1d460}"];
const RIGHTS: readonly [number, ...number[]] = [
  FsRight.READ_FILE,
  FsRight.WRITE_FILE,
  FsRight.READ_FILE | FsRight.WRITE_FILE,
  FsRight.MAKE_SOCK | FsRight.REMOVE_FILE,
  FsRight.EXECUTE,
  FsRight.IOCTL_DEV,
];

/** A path below a folder, or one that leads out of it. */
const pathOf = (input: Input, root: string): string =>
  [...(input.below(16) === 1 ? [] : [root]), ...Array.from({ length: input.below(5) }, () => input.pick(PARTS))].join(
    "/",
  );

/** A rule as the command line or the API gives it; undefined for one that is refused. */
function ruleOf(input: Input, root: string): LandlockConfig | undefined {
  const path = pathOf(input, root);
  const access = input.pick(ACCESS);
  try {
    switch (input.below(4)) {
      case 0:
        return decodeJson(landlockSchema, JSON.stringify({ path, access }));
      case 1:
        return parseOption(landlockSchema, Buffer.from(input.take(input.below(40))).toString());
      default:
        return parseOption(landlockSchema, `path=${path},access=${access}`);
    }
  } catch (error) {
    if (error instanceof OptionTextError || error instanceof JsonError) return undefined;
    throw error;
  }
}

export const target: FuzzTarget = {
  what: "rules of Landlock: their text, and what they allow of paths with links in them",
  maxBytes: 256,
  dictionary: ["path=", "access=", "rw", "/", "..", '"'],
  seeds: () => [Uint8Array.of(3, 0, 2, 0, 1, 2, 3, 0, 1, 4, 1, 0, 3, 0, 1, 1)],
  open: () => {
    const root = join(tmpdir(), "root");
    mkdirSync(join(root, "a/b"), { recursive: true });
    writeFileSync(join(root, "a/b/c"), "");
    symlinkSync(join(root, "a/b"), join(root, "link"));
    symlinkSync("..", join(root, "a/up"));
    symlinkSync("loop", join(root, "loop"));
    const config = configOf({ kernel: ["/k"] });
    return (input) => {
      const given = Array.from({ length: input.below(MOST_RULES + 1) }, () => ruleOf(input, root));
      const rules = given.filter((rule) => rule !== undefined).filter((rule) => isValid(rule, config));
      for (const rule of rules)
        if (!Bun.deepEquals(decodeJson(landlockSchema, encodeJson(landlockSchema, rule)), rule))
          throw new Error(`does not survive: ${JSON.stringify(rule)}`);
      const withRights = rules.map(({ path, access }) => ({ path, rights: rightsOfLetters(access) }));
      const layer = layerOf(withRights);
      if (!isSame(layer, layerOf(withRights.toReversed()))) throw new Error("the order of rules counts");
      for (const { path, rights } of withRights)
        if (!isAllowed(layer, { option: "", path, rights })) throw new Error(`a rule does not allow its own ${path}`);
      const need = { option: "--disk", path: pathOf(input, root), rights: input.pick(RIGHTS) };
      if (!isAllowed(layer, need) || layer.size > 0) return;
      // Without rules only what is not there may be looked for.
      if (existsSync(need.path)) throw new Error(`${need.path} is allowed by no rule`);
    };
  },
};

function isValid(rule: LandlockConfig, config: ReturnType<typeof configOf>): boolean {
  try {
    checkLandlockRules({ config: { ...config, landlock_rules: [rule] } });
    return true;
  } catch (error) {
    if (error instanceof ValidationError) return false;
    throw error;
  }
}
