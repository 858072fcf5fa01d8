import { z } from 'zod';
import type { CheckReport, ImageWork, VerbResult } from '#images/mod.ts';
import { imageNameSchema } from '#machines/mod.ts';
import {
  historySchema,
  imageActionSchema,
  overlayRequestSchema,
  overlayResultSchema,
  overlaySchema,
  usageSchema,
  type ActionResult,
  type ImageAction,
} from '../schema/image.ts';
import type { AdminServices } from '../services.ts';
import { answerWork } from '../work-stream.ts';
import { ERRORS, type ApiApp, type RouteContext } from './context.ts';
import { imageView } from './image-view.ts';
import { overlayAction } from './overlays.ts';

const params = z.strictObject({ name: imageNameSchema });
const tags = ['images'];

/** What is done with images that are there: their states, their form, their overlays. */
export function imageActionRoutes(app: ApiApp, context: RouteContext): void {
  const { services } = context;
  app.post(
    '/v1/images/:name/actions',
    {
      schema: {
        tags,
        summary: 'Changes, checks or exports an image; closing the connection cancels',
        description:
          'Answers lines of JSON: {"progress":…} while it works, then {"result":…} or {"error":…}.',
        params,
        body: imageActionSchema,
        response: ERRORS,
      },
    },
    (request, reply) =>
      answerWork(reply, context, (work) => act(request.params.name, request.body, services, work)),
  );
  app.delete(
    '/v1/images/:name/points/:number',
    {
      schema: {
        tags,
        summary: 'Forgets a point; its space goes when nothing else needs it',
        params: params.extend({ number: z.coerce.number().int().min(1) }),
        response: { 204: z.null(), ...ERRORS },
      },
    },
    async (request, reply) => {
      const { name, number } = request.params;
      await services.images.remove(`${name}@${number}`);
      void reply.code(204);
      return null;
    },
  );
  readingRoutes(app, services);
}

function readingRoutes(app: ApiApp, services: AdminServices): void {
  const { images } = services;
  app.get(
    '/v1/images/:name/history',
    {
      schema: {
        tags,
        summary: 'Points that can be returned to, and the overlays of machines',
        params,
        response: { 200: historySchema, ...ERRORS },
      },
    },
    (request) => historySchema.parse(images.history(request.params.name)),
  );
  app.get(
    '/v1/images/:name/usage',
    {
      schema: {
        tags,
        summary: 'What each layer takes, and who shares it',
        params,
        response: { 200: usageSchema, ...ERRORS },
      },
    },
    (request) => usageSchema.parse(images.usage(request.params.name)),
  );
  app.get(
    '/v1/overlays',
    {
      schema: {
        tags,
        summary: 'The overlays of all machines',
        response: { 200: z.array(overlaySchema), ...ERRORS },
      },
    },
    () => images.overlays(),
  );
  app.post(
    '/v1/overlays',
    {
      schema: {
        tags,
        summary: 'Keeps or discards the overlays of a machine at its next boot, or promotes one',
        body: overlayRequestSchema,
        response: { 200: overlayResultSchema, ...ERRORS },
      },
    },
    (request) => overlayAction(request.body, services),
  );
}

async function act(
  name: string,
  action: ImageAction,
  services: AdminServices,
  work: ImageWork,
): Promise<ActionResult> {
  const { images } = services;
  switch (action.action) {
    case 'snapshot':
      return done(await images.snapshot(name, action.comment), services);
    case 'rollback':
      return done(await images.rollback(name, action.point), services);
    case 'freeze':
      return done(await images.freeze(name, action.comment), services);
    case 'promote':
      return done(await images.promote(name, action.comment), services);
    case 'flatten':
      return done(await images.flatten(name, work), services);
    case 'resize':
      return done(await images.resize(name, action.sizeBytes), services);
    case 'check':
      return checked(name, await images.check(ref(name, action.point), work), services);
    case 'repair': {
      const { action: _, ...options } = action;
      return checked(name, await images.repair(name, options, work), services);
    }
    case 'export': {
      const { action: _, point, path, ...options } = action;
      await images.export(ref(name, point), path, options, work);
      return done({ image: images.get(name), notes: [`written to ${path}`] }, services);
    }
  }
}

function ref(name: string, point: number | undefined): string {
  return point === undefined ? name : `${name}@${point}`;
}

function done({ image, notes }: VerbResult, services: AdminServices): ActionResult {
  return { image: imageView(image, services), notes: [...notes], problems: [], fixed: [] };
}

function checked(name: string, report: CheckReport, services: AdminServices): ActionResult {
  const image = imageView(services.images.get(name), services);
  return { image, notes: [], problems: [...report.problems], fixed: [...report.fixed] };
}
