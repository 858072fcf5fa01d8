import { z } from 'zod';
import { EVENTS_PER_ANSWER_MAX } from '../limits.ts';
import { timelineEventSchema } from '../schema/timeline.ts';
import { streamEvents } from '../event-stream.ts';
import { ERRORS, type ApiApp, type RouteContext } from './context.ts';

const tags = ['boots'];
const eventId = z.coerce.number<string>().int().min(0);

/** The timeline of all boots: what was, and what happens from now on. */
export function eventRoutes(app: ApiApp, context: RouteContext): void {
  const { events } = context.services;
  app.get(
    '/v1/events',
    {
      schema: {
        tags,
        summary: 'Events after number `after`, oldest first; `lastId` is the newest of all',
        querystring: z.strictObject({
          after: eventId.default(0),
          limit: z.coerce.number<string>().int().min(1).max(EVENTS_PER_ANSWER_MAX).default(1000),
        }),
        response: {
          200: z.strictObject({ events: z.array(timelineEventSchema), lastId: z.int() }),
          ...ERRORS,
        },
      },
    },
    ({ query: { after, limit } }) => ({
      events: [...events.after(after, limit)],
      lastId: events.lastId(),
    }),
  );
  app.get(
    '/v1/events/stream',
    {
      schema: {
        tags,
        summary:
          'Server-sent events from `after` (or Last-Event-ID) on; without either: from now on',
        querystring: z.strictObject({ after: eventId.exactOptional() }),
        response: ERRORS,
      },
    },
    (request, reply) => {
      const header = eventId.safeParse(request.headers['last-event-id']);
      const after = header.success ? header.data : request.query.after;
      streamEvents(context, context.streams.start(reply, 'text/event-stream'), after);
    },
  );
}
