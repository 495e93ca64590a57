import { buildVersion } from "../build-version.ts";
import { bashCompletions } from "./bash.ts";
import { fishCompletions } from "./fish.ts";
import { manualPage } from "./manual-page.ts";
import type { ProgramModel } from "./program.ts";
import { zshCompletions } from "./zsh.ts";

const SHELLS: Readonly<Record<string, (program: ProgramModel) => string>> = {
  bash: bashCompletions,
  fish: fishCompletions,
  zsh: zshCompletions,
};

/** What `--completions SHELL` and `--man`, alone on a command line, print; undefined for any other command line. */
export function shellText(argv: readonly string[], program: () => ProgramModel): string | undefined {
  const [option, shell = "", ...rest] = argv;
  if (rest.length > 0) return undefined;
  if (option === "--man" && shell === "") return manualPage(program(), buildVersion);
  if (option !== "--completions" || !Object.hasOwn(SHELLS, shell)) return undefined;
  return SHELLS[shell]?.(program());
}
