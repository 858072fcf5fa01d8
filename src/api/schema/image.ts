import { z } from 'zod';
// Types only: a command of the command line must not load the library.
import type { DiskFormat, ImportFormat, OverlayWish } from '#images/mod.ts';
import { DRIVES_MAX, driveModeSchema, imageNameSchema, noteSchema } from '#machines/mod.ts';

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
  /** How its newest layer is kept: raw, qcow2, block, iso or nbd. */
  kind: z.string(),
  path: z.string(),
  sizeBytes: z.number(),
  blockBytes: z.number(),
  owned: z.boolean(),
  /** A golden image: nobody writes it. */
  frozen: z.boolean(),
  /** What it is made of, newest layer first, for whoever opens it elsewhere. */
  disk: z.looseObject({ kind: z.string() }),
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

/** NBD URI specification: `nbd://host[:port]/export`, `nbd+unix:///export?socket=/path`. */
const nbdUrlSchema = z
  .string()
  .max(4096)
  .regex(/^nbd(\+unix)?:\/\/[\x21-\x7e]+$/, 'must be an nbd:// address');

/** An image, or one of its points: "win98", "win98@2". */
const imageRefSchema = z
  .string()
  .regex(
    /^[a-z0-9][a-z0-9._-]{0,63}(@[1-9]\d{0,8})?$/,
    'is no image name, nor IMAGE@NUMBER for a point of one',
  );

/** Layouts that a blank disk can have (#disk's presets). */
export const IMAGE_PRESETS = ['dos', 'win9x', 'gpt'] as const;

/** Kinds of files that disks come from and go to. */
export const IMAGE_FORMATS = {
  in: ['raw', 'qcow2', 'vmdk', 'vpc', 'vhdx', 'vdi', 'iso'],
  out: ['raw', 'qcow2', 'vmdk', 'vpc', 'vhdx', 'vdi'],
} as const satisfies { in: readonly ImportFormat[]; out: readonly DiskFormat[] };

const WISHES = ['keep', 'discard'] as const satisfies readonly OverlayWish[];

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
    path: z.union([pathSchema, nbdUrlSchema]),
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
    recipe: textSchema,
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
    firstBoot: z.string().max(65_536).exactOptional(),
    note: noteSchema.exactOptional(),
  }),
  z.strictObject({
    action: z.literal('clone'),
    from: imageRefSchema,
    name: imageNameSchema,
  }),
  z.strictObject({
    action: z.literal('import'),
    path: pathSchema,
    name: imageNameSchema.exactOptional(),
    format: z.enum(IMAGE_FORMATS.in).exactOptional(),
    note: noteSchema.exactOptional(),
  }),
  z.strictObject({
    action: z.literal('overlay'),
    base: imageRefSchema,
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

const pointSchema = z.int().min(1).max(999_999_999);
const comment = { comment: noteSchema.exactOptional() };
const onPoint = { point: pointSchema.exactOptional() };

/** What can be done with an image that is there; the answer is a stream of lines. */
export const imageActionSchema = z.discriminatedUnion('action', [
  z.strictObject({ action: z.literal('snapshot'), ...comment }),
  z.strictObject({ action: z.literal('rollback'), ...onPoint }),
  z.strictObject({ action: z.literal('freeze'), ...comment }),
  z.strictObject({ action: z.literal('promote'), ...comment }),
  z.strictObject({ action: z.literal('flatten') }),
  z.strictObject({ action: z.literal('resize'), sizeBytes: sizeSchema }),
  z.strictObject({ action: z.literal('check'), ...onPoint }),
  z.strictObject({ action: z.literal('repair'), geometry: z.boolean().exactOptional() }),
  z.strictObject({
    action: z.literal('export'),
    ...onPoint,
    path: pathSchema,
    format: z.enum(IMAGE_FORMATS.out).exactOptional(),
    compression: z.enum(['gz', 'zst']).exactOptional(),
  }),
]);

export type ImageAction = z.output<typeof imageActionSchema>;
export type ImageActionInput = z.input<typeof imageActionSchema>;

/** What an action did: the image as it is now, and what people should know. */
export const actionResultSchema = z.strictObject({
  image: imageViewSchema,
  notes: z.array(z.string()),
  problems: z.array(
    z.strictObject({ severity: z.enum(['error', 'warning']), code: z.string(), text: z.string() }),
  ),
  fixed: z.array(z.string()),
});

export type ActionResult = z.output<typeof actionResultSchema>;

/** The overlay of one machine on one image. */
export const overlaySchema = z.strictObject({
  machine: z.string(),
  /** True: that machine was removed. */
  gone: z.boolean(),
  image: z.string(),
  version: z.int().exactOptional(),
  behind: z.boolean(),
  kept: z.boolean(),
  allocatedBytes: z.number().exactOptional(),
  next: z.enum(WISHES).exactOptional(),
  createdAtMs: z.number(),
});

export type OverlayView = z.output<typeof overlaySchema>;

/** Points of an image, and what stands on them. */
export const historySchema = z.strictObject({
  name: z.string(),
  frozen: z.boolean(),
  points: z.array(
    z.strictObject({
      number: z.int(),
      comment: z.string().exactOptional(),
      createdAtMs: z.number(),
      sizeBytes: z.number(),
      current: z.boolean(),
      allocatedBytes: z.number().exactOptional(),
    }),
  ),
  overlays: z.array(overlaySchema),
});

export type HistoryView = z.output<typeof historySchema>;

/** What an image takes, layer by layer. */
export const usageSchema = z.strictObject({
  name: z.string(),
  virtualBytes: z.number(),
  ownBytes: z.number(),
  sharedBytes: z.number(),
  layers: z.array(
    z.strictObject({
      id: z.string(),
      format: z.string(),
      path: z.string(),
      parent: z.string().exactOptional(),
      frozen: z.boolean(),
      virtualBytes: z.number(),
      allocatedBytes: z.number().exactOptional(),
      neededBy: z.array(z.string()),
    }),
  ),
});

export type UsageView = z.output<typeof usageSchema>;

/** Whose overlays are meant: a machine's, or of one of its drives. */
const overlayOwner = {
  /** Its name; also of a machine that was removed. */
  machine: z.string().min(1).max(63),
  /** Drive number; without it all its overlays. */
  index: z.int().min(0).max(DRIVES_MAX).exactOptional(),
};

/** What the next boot of a machine does with its overlays, or what becomes of one. */
export const overlayRequestSchema = z.discriminatedUnion('action', [
  z.strictObject({ action: z.literal('keep'), ...overlayOwner }),
  z.strictObject({ action: z.literal('discard'), ...overlayOwner }),
  z.strictObject({ action: z.literal('promote'), ...overlayOwner, ...comment }),
]);

export type OverlayRequest = z.output<typeof overlayRequestSchema>;
export type OverlayRequestInput = z.input<typeof overlayRequestSchema>;

/** The overlays that the request was about, as they are now, and what people should know. */
export const overlayResultSchema = z.strictObject({
  overlays: z.array(overlaySchema),
  notes: z.array(z.string()),
});

export type OverlayResult = z.output<typeof overlayResultSchema>;

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
