import { needsLab } from "../lab/hardware.ts";
import { runInLab } from "../lab/host.ts";

/** What a command prints on a KVM host that Linux guests run on: this machine, or the emulated one. */
export async function outputInLab(command: readonly string[], timeoutMs: number): Promise<string> {
  if (!(await needsLab()).emulated) return new Response(Bun.spawn([...command], { stderr: "inherit" }).stdout).text();
  const decoder = new TextDecoder();
  let output = "";
  const onOutput = (chunk: Uint8Array): void => {
    output += decoder.decode(chunk, { stream: true });
  };
  await runInLab([...command], { timeoutMs, onOutput });
  return output;
}
