import "reflect-metadata";
import { appServer } from "@app/AppServer";

appServer.setup();
appServer.start();
