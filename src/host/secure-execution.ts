import { libc } from "./libc.ts";

/** getauxval(3): whether this program has privileges that its caller lacks. */
const AT_SECURE = 23;

/** Whether the executable's file has given this process privileges, such as capabilities, that who started it does not have. */
export function isSecureExecution(): boolean {
  return libc.getauxval(AT_SECURE) !== 0;
}
