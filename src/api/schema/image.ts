import { z } from 'zod';
import { IMAGE_KINDS } from '#images/mod.ts';
import { driveModeSchema, imageNameSchema, noteSchema } from '#machines/mod.ts';

/** A machine that holds an image, and how. */
export const holderSchema = z.strictObject({
  machine: z.string(),
  mode: driveModeSchema,
  index: z.int().exactOptional(),
  once: z.boolean(),
});

/** One disk of the library, and who uses it. */
export const imageViewSchema = z.strictObject({
  name: z.string(),
  kind: z.enum(IMAGE_KINDS),
  path: z.string(),
  sizeBytes: z.number(),
  blockBytes: z.number(),
  owned: z.boolean(),
  createdAtMs: z.number(),
  note: z.string().exactOptional(),
  source: z.string().exactOptional(),
  holders: z.array(holderSchema),
});

export type ImageView = z.output<typeof imageViewSchema>;

const pathSchema = z
  .string()
  .min(1)
  .max(4096)
  .startsWith('/', 'must be an absolute path on the server')
  .refine((path) => !path.includes('\0'), 'must not contain NUL');

/** What can be asked of the library that takes its time; the answer is a stream of lines. */
export const imageRequestSchema = z.discriminatedUnion('action', [
  z.strictObject({
    action: z.literal('add'),
    path: pathSchema,
    name: imageNameSchema.exactOptional(),
    note: noteSchema.exactOptional(),
  }),
  z.strictObject({
    action: z.literal('create'),
    name: imageNameSchema,
    preset: z.string().max(64).exactOptional(),
    size: z.string().max(32).exactOptional(),
    note: noteSchema.exactOptional(),
  }),
  z.strictObject({
    action: z.literal('build'),
    name: imageNameSchema,
    recipe: z.string().max(64),
    size: z.string().max(32).exactOptional(),
    options: z.record(z.string().max(64), z.string().max(4096)).default({}),
    note: noteSchema.exactOptional(),
  }),
  z.strictObject({
    action: z.literal('clone'),
    from: imageNameSchema,
    name: imageNameSchema,
    note: noteSchema.exactOptional(),
  }),
]);

export type ImageRequest = z.output<typeof imageRequestSchema>;
export type ImageRequestInput = z.input<typeof imageRequestSchema>;

/** What long work says about itself while it runs. */
export const progressSchema = z.strictObject({
  phase: z.string(),
  doneBytes: z.number().exactOptional(),
  totalBytes: z.number().exactOptional(),
  line: z.string().exactOptional(),
});

export type Progress = z.output<typeof progressSchema>;

/** What the bytes of an image say: anything that can be written as JSON, for people first. */
export const inspectionSchema = z.looseObject({
  summary: z.array(z.string()),
  warnings: z.array(z.string()),
});

export type InspectionView = z.output<typeof inspectionSchema>;
