import { ValidationError } from "../../config/errors.ts";
import { plainJson } from "../../config/json/encode.ts";
import { JsonError } from "../../config/json/errors.ts";
import { toFailure } from "../../threads/failure.ts";
import {
  CpuRemovalPendingError,
  UnknownDeviceError,
  VmMissingConfigError,
  VmNotCreatedError,
} from "../../vmm/control/errors.ts";
import type { HttpResponse, Status } from "../http/response.ts";

/** The request does not fit its endpoint: method, body or number of descriptors. */
export const BAD_REQUEST: HttpResponse = { status: 400, body: '["Bad Request"]' };
/** As BAD_REQUEST, where existing clients are used to an empty body. */
export const BAD_REQUEST_EMPTY: HttpResponse = { status: 400, body: "" };
export const NOT_FOUND: HttpResponse = { status: 404, body: '["Not Found"]' };
const TOO_MANY_REQUESTS: HttpResponse = { status: 429, body: '["Too Many Requests"]' };

/** The number of descriptors that came with a request is not what its body says. */
export class DescriptorCountError extends Error {
  override readonly name = "DescriptorCountError";
  constructor(expected: string, actual: number) {
    super(`${actual} file descriptors came with the request, expected ${expected}`);
  }
}

/** Rules whose breach is a conflict with what is there, not a mistake in itself. */
const CONFLICTS: ReadonlySet<string> = new Set(["duplicate-id", "duplicate-device-path"]);

function statusOf(error: unknown): Status {
  if (error instanceof ValidationError) return CONFLICTS.has(error.rule) ? 409 : 400;
  if (
    error instanceof VmNotCreatedError ||
    error instanceof VmMissingConfigError ||
    error instanceof UnknownDeviceError
  )
    return 404;
  return 500;
}

/**
 * What a failed request is answered with: rest-api.md, sections 1.4 and 1.5. The body is an array of strings, the outermost
 * description first and the root cause last.
 * @param action what was asked for, as "boot the VM"
 */
export function failureResponse(action: string, error: unknown): HttpResponse {
  if (error instanceof JsonError)
    return { status: 400, body: plainJson(["the body of the request cannot be used", error.message]) };
  if (error instanceof DescriptorCountError) return BAD_REQUEST;
  if (error instanceof CpuRemovalPendingError) return TOO_MANY_REQUESTS;
  const causes = toFailure(error).map(({ message }) => message);
  return { status: statusOf(error), body: plainJson(["the request failed", `cannot ${action}`, ...causes]) };
}
