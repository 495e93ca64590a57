import { describe, expect, test } from "bun:test";
import { RuntimeSettingsError, refuseForeignSettings } from "../../../src/cli/runtime-settings.ts";
import { isSecureExecution } from "../../../src/host/secure-execution.ts";

describe("an environment that changes the runtime", () => {
  const yes = () => true;
  const no = () => false;

  test("is the caller's affair where both have the same privileges", () => {
    expect(() => refuseForeignSettings(["BUN_JSC_useJIT", "HOME"], no)).not.toThrow();
    expect(isSecureExecution()).toBeFalse();
  });

  test.each(["BUN_JSC_useJIT", "JSC_logGC", "MIMALLOC_VERBOSE", "BUN_CONFIG_VERBOSE_FETCH"])(
    "is refused: %s",
    (name) => {
      expect(() => refuseForeignSettings(["HOME", name], yes)).toThrow(RuntimeSettingsError);
      expect(() => refuseForeignSettings(["HOME", name], yes)).toThrow(`unset ${name}`);
    },
  );

  test("is not one that means nothing to it", () => {
    expect(() => refuseForeignSettings(["HOME", "PATH", "XBUN_JSC_a", "TZ", "LC_ALL"], yes)).not.toThrow();
  });
});
