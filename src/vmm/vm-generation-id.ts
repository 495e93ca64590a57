import { VM_GENERATION_ID } from "../machine/x86_64/platform.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";

const ID_BYTES = 16;

/** Gives the machine an identifier that no other run of it has: at each boot, and when a saved machine goes on. */
export function renewGenerationId(memory: GuestMemory): void {
  memory.write(VM_GENERATION_ID, crypto.getRandomValues(new Uint8Array(ID_BYTES)));
}
