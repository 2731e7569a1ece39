import { expect, test } from "vitest";

import readme from "../../README.md?raw";
import compiled from "./readme.ts?raw";

test("what README shows is what is compiled", () => {
  const shown = /```ts\n(.*?)```/s.exec(readme)?.[1];
  expect(compiled.slice(compiled.indexOf("\n") + 1)).toBe(shown);
});
