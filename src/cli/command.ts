import { defineCommand } from "citty";
import { buildVersion } from "./build-version.ts";
import { parseCommandLine, type RunRequest } from "./parse.ts";
import { print } from "./print.ts";

/**
 * The command `cloud-hypervisor`, for citty's `runCommand`. Its result is the exit code of the process.
 *
 * citty is not told of the options: its grammar has no repeatable options with several values, takes `--no-shutdown` for the
 * opposite of `--shutdown`, and accepts what it does not know.
 * @param run runs the VMM until it ends and returns the exit code
 */
export function cloudHypervisorCommand(run: (request: RunRequest) => number | Promise<number>) {
  return defineCommand({
    meta: { name: "cloud-hypervisor", version: buildVersion, description: "Runs a virtual machine" },
    run: async ({ rawArgs }): Promise<number> => {
      const [first] = rawArgs;
      // For shells and man, not for people: help does not name them, and no start of a VMM loads them.
      if (first === "--completions" || first === "--man") {
        const { shellText } = await import("./shell/shell-text.ts");
        const { cloudHypervisorModel } = await import("./shell/program.ts");
        const text = shellText(rawArgs, cloudHypervisorModel);
        if (text !== undefined) {
          print("stdout", text);
          return 0;
        }
      }
      const commandLine = parseCommandLine(rawArgs, { columns: () => process.stdout.columns });
      if (commandLine.kind === "run") return run(commandLine.request);
      print(commandLine.stream, commandLine.text);
      return commandLine.exitCode;
    },
  });
}
