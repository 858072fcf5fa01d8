import swagger from '@fastify/swagger';
import fastify, {
  type FastifyReply,
  type FastifyRequest,
  type FastifySchemaCompiler,
} from 'fastify';
import type { z } from 'zod';
import {
  jsonSchemaTransform,
  serializerCompiler,
  type ZodTypeProvider,
} from 'fastify-type-provider-zod';
import { silentLog, systemClock, type Clock, type Log } from '#base/mod.ts';
import { checkAccess, isJson, Unauthorized, type Access } from './guard.ts';
import { invalidValue, problemsOf } from '#machines/mod.ts';
import { httpError, noSuchRoute } from './http-error.ts';
import { checkJsonDepth } from './json-body.ts';
import {
  BODY_BYTES_MAX,
  CONNECTIONS_MAX,
  HEADER_BYTES_MAX,
  HEADERS_TIMEOUT_MS,
  REQUEST_TIMEOUT_MS,
} from './limits.ts';
import type { ApiApp, RouteContext } from './routes/context.ts';
import { eventRoutes } from './routes/events.ts';
import { imageActionRoutes } from './routes/image-actions.ts';
import { imageRoutes } from './routes/images.ts';
import { machineRoutes } from './routes/machines.ts';
import { stateRoutes } from './routes/state.ts';
import type { AdminServices } from './services.ts';
import { Streams } from './stream.ts';

export type AdminAppOptions = {
  readonly services: AdminServices;
  readonly access: Access;
  readonly version: string;
  readonly clock?: Clock;
  readonly log?: Log;
};

/** The admin API for one listener: guarded, validated, described. Not listening yet. */
export async function buildAdminApp(options: AdminAppOptions): Promise<ApiApp> {
  const log = options.log ?? silentLog;
  const context: RouteContext = {
    services: options.services,
    streams: new Streams(),
    clock: options.clock ?? systemClock,
    log,
  };
  const app = newApp();
  app.addHook('onRequest', (request, reply, done) => {
    void reply.headers({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' });
    checkAccess(options.access, request.headers);
    const changes = !['GET', 'HEAD', 'DELETE', 'OPTIONS'].includes(request.method);
    if (changes && !isJson(request.headers['content-type'])) {
      void sendStatus(reply, 415);
      return;
    }
    done();
  });
  app.addHook('onSend', async (request, _reply, payload) => {
    if (!['GET', 'HEAD'].includes(request.method)) await options.services.settled();
    return payload;
  });
  app.setErrorHandler((error, _request, reply) => sendError(error, reply, log));
  app.setNotFoundHandler((request, reply) =>
    sendError(noSuchRoute(request.method, request.url.slice(0, 200)), reply, log),
  );
  app.addHook('preClose', (done) => {
    // Streams never go idle by themselves; close would wait for them.
    context.streams.close();
    app.server.closeAllConnections();
    done();
  });
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Polyboot admin API', version: options.version },
    },
    transform: jsonSchemaTransform,
  });
  machineRoutes(app, context);
  imageRoutes(app, context);
  imageActionRoutes(app, context);
  eventRoutes(app, context);
  stateRoutes(app, context);
  app.get('/openapi.json', { schema: { hide: true } }, () => app.swagger());
  await app.ready();
  return app;
}

function newApp(): ApiApp {
  const app = fastify({
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: REQUEST_TIMEOUT_MS,
    routerOptions: { maxParamLength: 128 },
    http: {
      headersTimeout: HEADERS_TIMEOUT_MS,
      maxHeaderSize: HEADER_BYTES_MAX,
      connectionsCheckingInterval: 1_000,
    },
  }).withTypeProvider<ZodTypeProvider>();
  app.server.maxConnections = CONNECTIONS_MAX;
  app.setValidatorCompiler(validator);
  app.setSerializerCompiler(serializerCompiler);
  const parseJson = app.getDefaultJsonParser('error', 'error');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser<string>(
    'application/json',
    { parseAs: 'string' },
    (request: FastifyRequest, body, done) => {
      checkJsonDepth(body);
      // It answers through `done`; the promise is for parsers that return one.
      void parseJson(request, body, done);
    },
  );
  return app;
}

function sendError(error: unknown, reply: FastifyReply, log: Log): FastifyReply {
  const { status, body, internal } = httpError(error);
  if (internal) log.error({ error, url: reply.request.url }, 'a request failed');
  if (error instanceof Unauthorized)
    return reply.code(401).header('www-authenticate', 'Bearer').send(body);
  return reply.code(status).send(body);
}

function sendStatus(reply: FastifyReply, statusCode: number): FastifyReply {
  const { status, body } = httpError({ statusCode });
  return reply.code(status).send(body);
}

/** The request in the shape of its schema, or our own error with every problem in plain words. */
const validator: FastifySchemaCompiler<z.ZodType> =
  ({ schema }) =>
  (value: unknown) => {
    const result = schema.safeParse(value);
    if (result.success) return { value: result.data };
    const problems = problemsOf(result.error.issues);
    return { error: invalidValue('what was asked for is not right', problems) };
  };
