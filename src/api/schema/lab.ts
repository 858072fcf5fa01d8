import { z } from 'zod';
import {
  addressSchema,
  bootFileSchema,
  bootPlanSchema,
  driveSchema,
  imageNameSchema,
  machineNameSchema,
  macSchema,
  MACS_MAX,
  noteSchema,
  uuidSchema,
} from '#machines/mod.ts';

/** A plan without particulars may be written as one word. */
const planWordSchema = z.enum(['san', 'local', 'menu']);

/** "dos" is an exclusive drive, "golden:shared" a shared one, "golden:overlay-fresh" … */
const driveWordSchema = z
  .string()
  .regex(
    /^[a-z0-9][a-z0-9._-]{0,63}(:(shared|exclusive|overlay-fresh|overlay-kept))?$/,
    'must be an image name, or IMAGE:shared, IMAGE:overlay-fresh, IMAGE:overlay-kept',
  );

/** A secret that is left out is the one the server has: a dump without secrets can be applied. */
const labChapSchema = z.strictObject({
  user: z.string(),
  secret: z.string().exactOptional(),
  mutualUser: z.string().exactOptional(),
  mutualSecret: z.string().exactOptional(),
});

/** A machine as a lab file says it; what is left out has its default. */
export const labMachineSchema = z.strictObject({
  macs: z.array(macSchema).min(1, 'needs at least one MAC address').max(MACS_MAX),
  uuid: uuidSchema.exactOptional(),
  address: addressSchema.exactOptional(),
  plan: z.union([planWordSchema, bootPlanSchema]).exactOptional(),
  drives: z.array(z.union([driveWordSchema, driveSchema])).exactOptional(),
  chap: labChapSchema.exactOptional(),
  loader: bootFileSchema.exactOptional(),
  note: noteSchema.exactOptional(),
});

/** An image that is used in place. Images that the server made are not in this file. */
export const labImageSchema = z.strictObject({
  path: z.string().min(1).max(4096).startsWith('/', 'must be an absolute path on the server'),
  /** Frozen when it is added: machines write overlays. */
  golden: z.boolean().exactOptional(),
  note: noteSchema.exactOptional(),
});

/**
 * The state of a server as a file. A section that is there is the whole truth about its subject:
 * registered machines (and images used in place) that it does not name are forgotten. A section
 * that is missing leaves its subject alone.
 */
export const labSchema = z.strictObject({
  machines: z.record(machineNameSchema, labMachineSchema).exactOptional(),
  images: z.record(imageNameSchema, labImageSchema).exactOptional(),
});

export type LabMachine = z.output<typeof labMachineSchema>;
export type LabImage = z.output<typeof labImageSchema>;
export type Lab = z.output<typeof labSchema>;

export const applyRequestSchema = z.strictObject({
  lab: labSchema,
  dryRun: z.boolean().default(false),
});

/** One thing that applying a lab file does (or would do). `details` are lines for people. */
export const labChangeSchema = z.strictObject({
  subject: z.enum(['machine', 'image']),
  name: z.string(),
  action: z.enum(['add', 'change', 'remove']),
  details: z.array(z.string()),
});

export const applyResultSchema = z.strictObject({
  dryRun: z.boolean(),
  changes: z.array(labChangeSchema),
});

export type LabChange = z.output<typeof labChangeSchema>;
export type ApplyResult = z.output<typeof applyResultSchema>;
