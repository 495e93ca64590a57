import { type Instruction, Op } from "../../../../src/host/seccomp/bpf.ts";

/** What a filter is asked about. */
export interface Call {
  readonly arch: number;
  readonly nr: number;
  readonly args?: readonly bigint[];
}

function seccompData({ arch, nr, args = [] }: Call): DataView {
  const data = new DataView(new ArrayBuffer(64));
  data.setUint32(0, nr, true);
  data.setUint32(4, arch, true);
  for (const [i, value] of args.entries()) data.setBigUint64(16 + 8 * i, BigInt.asUintN(64, value), true);
  return data;
}

/**
 * Runs a filter as the kernel would.
 * @returns the action, and how many instructions it took
 * @throws Error when the kernel would refuse the program
 */
export function runFilter(program: readonly Instruction[], call: Call): { action: number; steps: number } {
  const data = seccompData(call);
  let accumulator = 0;
  let steps = 0;
  for (let at = 0; ; ) {
    const instruction = program[at];
    if (instruction === undefined) throw new Error(`the filter runs over its end at ${at}`);
    const { code, jt, jf, k } = instruction;
    if (jt < 0 || jt > 255 || jf < 0 || jf > 255 || k < 0 || k > 0xffff_ffff)
      throw new Error(`instruction ${at} cannot be encoded: ${JSON.stringify(instruction)}`);
    at++;
    steps++;
    switch (code) {
      case Op.LOAD:
        if (k % 4 !== 0 || k > 60) throw new Error(`a load of offset ${k}`);
        accumulator = data.getUint32(k, true);
        break;
      case Op.AND:
        accumulator = (accumulator & k) >>> 0;
        break;
      case Op.JUMP:
        at += k;
        break;
      case Op.JUMP_EQUAL:
        at += accumulator === k ? jt : jf;
        break;
      case Op.JUMP_NOT_LESS:
        at += accumulator >= k ? jt : jf;
        break;
      case Op.RETURN:
        return { action: k, steps };
      default:
        throw new Error(`no instruction has code ${code}`);
    }
  }
}
