// A Socket.IO server on 127.0.0.1, on the port that is the argument. POST /events sends the event to all sockets.
"use strict";

const http = require("node:http");
const { Server } = require("socket.io");

const server = http.createServer((request, response) => {
  if (request.method === "POST" && request.url === "/events") {
    const pieces = [];
    request.on("data", (piece) => pieces.push(piece));
    request.on("end", () => {
      io.emit("greeting", JSON.parse(Buffer.concat(pieces)));
      response.writeHead(202, { "Content-Length": 0 }).end();
    });
  } else if (request.url === "/status") {
    const sockets = String(io.of("/").sockets.size);
    response.writeHead(200, { "Content-Length": sockets.length }).end(sockets);
  } else {
    response.writeHead(404, { "Content-Length": 0 }).end();
  }
});

// The heartbeats are those of the gateway. Nothing else differs from the defaults: no compression, no recovery.
const io = new Server(server, { transports: ["websocket"], serveClient: false, pingInterval: 15000 });

// As with the other servers, a connection for publishing stays open.
server.keepAliveTimeout = 0;
server.maxRequestsPerSocket = 0;
server.listen({ host: "127.0.0.1", port: Number(process.argv[2]), backlog: 4096 });
