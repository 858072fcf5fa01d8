import { z } from 'zod';
import { applyLab, dumpLab } from '../lab/apply.ts';
import { LAB_BYTES_MAX } from '../limits.ts';
import { applyRequestSchema, applyResultSchema, labSchema } from '../schema/lab.ts';
import { leaseSchema, statusSchema } from '../schema/status.ts';
import { ERRORS, type ApiApp, type RouteContext } from './context.ts';

const tags = ['server'];

/** The server as a whole: status, leases, and its state as a file. */
export function stateRoutes(app: ApiApp, { services }: RouteContext): void {
  app.get(
    '/v1/status',
    {
      schema: {
        tags,
        summary: 'Services, listeners, counters, sessions',
        response: { 200: statusSchema, ...ERRORS },
      },
    },
    () => services.status(),
  );
  app.get(
    '/v1/leases',
    {
      schema: { tags, summary: 'DHCP leases', response: { 200: z.array(leaseSchema), ...ERRORS } },
    },
    () => [...services.leases()],
  );
  app.get(
    '/v1/state',
    {
      schema: {
        tags,
        summary: 'The state as a lab file; CHAP secrets only when asked for',
        querystring: z.strictObject({ secrets: z.enum(['true', 'false']).default('false') }),
        response: { 200: labSchema, ...ERRORS },
      },
    },
    (request) => dumpLab(services, request.query.secrets === 'true'),
  );
  app.post(
    '/v1/apply',
    {
      bodyLimit: LAB_BYTES_MAX,
      schema: {
        tags,
        summary: 'Makes the state match a lab file, all or nothing; dryRun only says how',
        body: applyRequestSchema,
        response: { 200: applyResultSchema, ...ERRORS },
      },
    },
    (request) => applyLab(request.body.lab, request.body.dryRun, services),
  );
}
