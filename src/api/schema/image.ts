import { z } from 'zod';
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
  /** raw, block or iso; more to come. */
  kind: z.string(),
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

/** Layouts that a blank disk can have (#disk's presets). */
export const IMAGE_PRESETS = ['dos', 'win9x', 'gpt'] as const;

/** 8 TiB: the largest disk that any of our consumers can make use of. */
const sizeSchema = z
  .int()
  .min(512)
  .max(8 * 1024 ** 4);

/** The library checks what recipes take; here it is only bounded. */
const textSchema = z.string().min(1).max(1024);
const userSchema = z.strictObject({
  name: textSchema,
  password: textSchema.exactOptional(),
  sshKeys: z.array(z.string().max(16_384)).max(64).exactOptional(),
});

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
    preset: z.enum(IMAGE_PRESETS),
    sizeBytes: sizeSchema,
    label: z.string().max(11).exactOptional(),
    note: noteSchema.exactOptional(),
  }),
  z.strictObject({
    action: z.literal('build'),
    name: imageNameSchema,
    recipe: z.literal('debian'),
    release: textSchema.exactOptional(),
    kernel: z.enum(['cloud', 'generic']).exactOptional(),
    hostName: textSchema.exactOptional(),
    rootPassword: textSchema.exactOptional(),
    sshKeys: z.array(z.string().max(16_384)).max(64).exactOptional(),
    users: z.array(userSchema).max(64).exactOptional(),
    packages: z.array(textSchema).max(1_000).exactOptional(),
    sizeBytes: sizeSchema.exactOptional(),
    mirror: z.array(textSchema).max(16).exactOptional(),
    refresh: z.boolean().exactOptional(),
    note: noteSchema.exactOptional(),
  }),
  z.strictObject({
    action: z.literal('clone'),
    from: imageNameSchema,
    name: imageNameSchema,
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

const geometrySchema = z.looseObject({
  cylinders: z.number(),
  heads: z.number(),
  sectorsPerTrack: z.number(),
});
const filesystemSchema = z.looseObject({ kind: z.string(), label: z.string() });
const verdictSchema = z.looseObject({ bootable: z.boolean(), why: z.string() });

/** What the bytes of a disk say (#disk's report); these are promised, the rest is passed on. */
export const inspectionSchema = z.looseObject({
  sizeBytes: z.number(),
  table: z.string(),
  partitions: z.array(
    z.looseObject({
      number: z.int(),
      typeName: z.string(),
      startLba: z.number(),
      sizeBytes: z.number(),
      active: z.boolean(),
      filesystem: filesystemSchema.exactOptional(),
    }),
  ),
  filesystem: filesystemSchema.exactOptional(),
  geometry: geometrySchema,
  reachableBytes: z.number(),
  bios: verdictSchema,
  uefi: verdictSchema,
  warnings: z.array(z.looseObject({ code: z.string(), text: z.string() })),
});

export type InspectionView = z.output<typeof inspectionSchema>;
