import { ApiClient, ApiConnectionError, type ApiReply } from "../../api/client/api-client.ts";
import { UsageError } from "../arguments.ts";
import { buildVersion } from "../build-version.ts";
import { errorDebugText, failureText } from "../error-chain.ts";
import { print } from "../print.ts";
import { remoteModel } from "../shell/program.ts";
import { shellText } from "../shell/shell-text.ts";
import { parseRemoteArguments, type RemoteCommandLine } from "./arguments.ts";
import { MissingArgumentError } from "./commands.ts";
import { commandHelp, remoteHelp, USAGE_HINT } from "./help.ts";
import { refusalOf } from "./refusal.ts";

const SUCCESS = 0;
const FAILURE = 1;
const USAGE = 2;
/** Of a missing argument that the command line's grammar lets pass: what existing scripts know. */
const MISSING_ARGUMENT = 101;

const COMPONENT = "ch-remote";

const SUCCESSES: readonly number[] = [100, 200, 204];

/** A record as env_logger writes it; `RUST_LOG=off` hides it. */
function logError(error: unknown): void {
  if (process.env["RUST_LOG"]?.toLowerCase() === "off") return;
  const time = new Date().toISOString().replace(/\.\d+Z$/, "Z");
  print("stderr", `[${time} ERROR ch_remote] ${errorDebugText(error)}\n`);
}

function refused(reply: ApiReply): number {
  const { error, remark } = refusalOf(reply);
  logError(error);
  const text = failureText(error, COMPONENT);
  print("stderr", remark === "" ? text : `${text}  X: ${remark}\n`);
  return FAILURE;
}

async function run({ socket, command, values }: Extract<RemoteCommandLine, { kind: "run" }>): Promise<number> {
  if (socket === undefined)
    throw new ApiConnectionError("no way to reach the VMM is given: add --api-socket <path> before the subcommand");
  if ("run" in command) return await command.run(socket, values);
  const request = command.request(values);
  const client = new ApiClient(socket);
  try {
    const reply = client.request(request);
    if (!SUCCESSES.includes(reply.status)) return refused(reply);
    if (reply.body !== "") print("stdout", `${reply.body}\n`);
    return SUCCESS;
  } finally {
    client.close();
  }
}

function failed(error: unknown): number {
  if (error instanceof UsageError) {
    print("stderr", `error: ${error.message}\n\n${USAGE_HINT}`);
    return USAGE;
  }
  logError(error);
  if (error instanceof MissingArgumentError) return MISSING_ARGUMENT;
  if (!(error instanceof ApiConnectionError)) print("stderr", failureText(error, COMPONENT));
  return FAILURE;
}

/**
 * The `ch-remote` command.
 * @param argv arguments without the program's name
 * @returns the exit status
 */
export async function chRemote(argv: readonly string[]): Promise<number> {
  if (argv.length === 0) {
    print("stderr", remoteHelp());
    return USAGE;
  }
  const forShell = shellText(argv, remoteModel);
  if (forShell !== undefined) {
    print("stdout", forShell);
    return SUCCESS;
  }
  try {
    const commandLine = parseRemoteArguments(argv);
    switch (commandLine.kind) {
      case "help":
        print("stdout", commandLine.command === undefined ? remoteHelp() : commandHelp(commandLine.command));
        return SUCCESS;
      case "version":
        print("stdout", `ch-remote ${buildVersion}\n`);
        return SUCCESS;
      case "run":
        return await run(commandLine);
    }
  } catch (error) {
    return failed(error);
  }
}
