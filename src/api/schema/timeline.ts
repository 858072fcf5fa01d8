import { z } from 'zod';

/** What a boot goes through, as seen by the server, and how it may end. */
export const STAGE_NAMES = [
  'power-on',
  'dhcp',
  'loader',
  'ipxe',
  'script',
  'login',
  'disk',
  'os',
  'ready',
  'stopped',
] as const;

/** What happened, why, and what to do, as every error and every stopped boot says it. */
export const explanationSchema = z.strictObject({
  what: z.string(),
  why: z.string().exactOptional(),
  todo: z.string().exactOptional(),
});

/** One stage that one boot of one machine reached; all stages of one boot share `boot`. */
export const timelineEventSchema = z.strictObject({
  id: z.int().min(1),
  atMs: z.number(),
  boot: z.string(),
  machine: z.string().exactOptional(),
  mac: z.string(),
  stage: z.enum(STAGE_NAMES),
  facts: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
  problem: explanationSchema.exactOptional(),
});

export type TimelineEvent = z.output<typeof timelineEventSchema>;
export type StageName = (typeof STAGE_NAMES)[number];
