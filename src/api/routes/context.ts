import type {
  FastifyBaseLogger,
  FastifyInstance,
  RawReplyDefaultExpression,
  RawRequestDefaultExpression,
  RawServerDefault,
} from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import type { Clock, Log } from '#base/mod.ts';
import { errorSchema } from '../schema/error.ts';
import type { AdminServices } from '../services.ts';
import type { Streams } from '../stream.ts';

/** The server with its schemas as types. */
export type ApiApp = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  FastifyBaseLogger,
  ZodTypeProvider
>;

/** What every route may use. */
export type RouteContext = {
  readonly services: AdminServices;
  readonly streams: Streams;
  readonly clock: Clock;
  readonly log: Log;
};

/** What every route may answer besides its own. */
export const ERRORS = { '4xx': errorSchema, '5xx': errorSchema } as const;
