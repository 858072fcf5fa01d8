import { z } from 'zod';

/** Every error of the API: a stable code, and the three parts that a person reads. */
export const errorSchema = z.strictObject({
  code: z.string(),
  what: z.string(),
  why: z.string().exactOptional(),
  todo: z.string().exactOptional(),
  /** Of a document with several faults: where each is (keys from its root), and what. */
  problems: z
    .array(
      z.strictObject({
        path: z.array(z.union([z.string(), z.number()])),
        message: z.string(),
      }),
    )
    .exactOptional(),
});

export type ApiError = z.output<typeof errorSchema>;
