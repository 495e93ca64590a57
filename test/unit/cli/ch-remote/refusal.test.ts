import { expect, test } from "bun:test";
import { refusalOf } from "../../../../src/cli/ch-remote/refusal.ts";
import { failureText } from "../../../../src/cli/error-chain.ts";

test("the causes are those of the body, outermost first", () => {
  const { error, remark } = refusalOf({ status: 500, body: '["outer","inner"]' });
  expect(remark).toBe("");
  expect(failureText(error, "x")).toEndWith("0: the VMM answered 500 Internal Server Error\n  1: outer\n  2: inner\n");
});

test("a body that is no list of texts is a remark", () => {
  for (const body of ["no JSON", '{"a":1}', '["a",1]']) {
    const { error, remark } = refusalOf({ status: 418, body });
    expect([error.message, error.cause, remark]).toEqual(["the VMM answered 418 (unknown)", undefined, body]);
  }
});

test("a body of a million causes is told, as far as it is shown", () => {
  const { error } = refusalOf({ status: 400, body: JSON.stringify(new Array(1_000_000).fill("why")) });
  expect(failureText(error).split("why").length).toBe(32);
});
