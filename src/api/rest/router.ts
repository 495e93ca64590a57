import { logger } from "../../threads/log.ts";
import type { VmmControl } from "../../vmm/control/vmm-control.ts";
import type { RequestHandler } from "../http/connection.ts";
import type { HttpRequest } from "../http/request-parser.ts";
import type { HttpResponse } from "../http/response.ts";
import { METRICS, METRICS_PATH } from "../metrics/endpoint.ts";
import { BASE_PATH, ENDPOINTS, type Endpoint, type Identity } from "./endpoints.ts";
import { BAD_REQUEST, BAD_REQUEST_EMPTY, failureResponse, NOT_FOUND } from "./failure-response.ts";

const log = logger("api");

/** By the whole path: it is compared to the letter, a query included. */
const BY_PATH: ReadonlyMap<string, Endpoint> = new Map<string, Endpoint>([
  ...Object.entries(ENDPOINTS).map(([name, endpoint]) => [`${BASE_PATH}${name}`, endpoint] as const),
  [METRICS_PATH, METRICS],
]);

/** What is wrong with a request for an endpoint, as far as method and body go: rest-api.md, section 1.6. */
function misuse({ usage }: Endpoint, { method, body }: HttpRequest): HttpResponse | undefined {
  const hasBody = body.length > 0;
  switch (usage) {
    case "get":
      return method === "GET" ? undefined : BAD_REQUEST;
    case "any-put":
      return method === "PUT" ? undefined : BAD_REQUEST;
    case "create":
      if (method !== "PUT") return BAD_REQUEST;
      return hasBody ? undefined : BAD_REQUEST_EMPTY;
    case "plain-get":
      if (method === "GET") return undefined;
      return method === "PUT" ? BAD_REQUEST : BAD_REQUEST_EMPTY;
    case "put":
    case "put-body":
      if (method !== "PUT") return method === "GET" ? BAD_REQUEST : BAD_REQUEST_EMPTY;
      return hasBody === (usage === "put-body") ? undefined : BAD_REQUEST;
  }
}

/** The REST API: finds out what a request asks for, has it done and puts the result in words. */
export function makeRouter(control: VmmControl, identity: Identity): RequestHandler {
  const fail = ({ action }: Endpoint, error: unknown): HttpResponse => {
    const response = failureResponse(action, error);
    // A client that asks for what cannot be has been told so; what should have worked is for the operator to know.
    const level = response.status >= 500 ? log.warn : log.info;
    level(() => `cannot ${action}: ${response.status} ${response.body}`);
    return response;
  };
  return (request) => {
    const endpoint = BY_PATH.get(request.path);
    if (endpoint === undefined) return NOT_FOUND;
    const refusal = misuse(endpoint, request);
    if (refusal !== undefined) return refusal;
    try {
      const response = endpoint.run({ control, identity, body: request.body, fds: request.fds });
      return response instanceof Promise ? response.catch((error: unknown) => fail(endpoint, error)) : response;
    } catch (error) {
      return fail(endpoint, error);
    }
  };
}
