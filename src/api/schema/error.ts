import { z } from 'zod';

/** Every error of the API: a stable code, and the three parts that a person reads. */
export const errorSchema = z.strictObject({
  code: z.string(),
  what: z.string(),
  why: z.string().exactOptional(),
  todo: z.string().exactOptional(),
});

export type ApiError = z.output<typeof errorSchema>;
